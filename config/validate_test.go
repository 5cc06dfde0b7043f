package config

import "testing"

func TestWebhookPath(t *testing.T) {
	setSecrets(t)
	c, err := Load("testdata/good.yml")
	if err != nil {
		t.Fatal(err)
	}
	for path, ok := range map[string]bool{
		"/": true, "/hook": true, "/hook/": true, "/whatsapp/webhook": true,
		"": false, "hook": false, "/a//b": false, "/a/./b": false, "/a/../b": false, "//": false,
		"/{x}": false, "/a?b": false, "/a%20b": false, "/a b": false,
	} {
		c.HTTP.Webhook.Path = path
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("%q: got %v, want good %v", path, err, ok)
		}
	}
}
