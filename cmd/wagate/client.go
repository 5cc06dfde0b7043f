package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"wagate/config"
)

// adminFlags say where the running gateway is asked, and with which token.
type adminFlags struct {
	Config    string `short:"c" default:"wagate.yaml" env:"WAGATE_CONFIG" placeholder:"FILE" help:"Configuration file that names the address and the token (${default})."`
	Admin     string `env:"WAGATE_ADMIN" placeholder:"ADDRESS" help:"Address of the gateway's admin API, instead of the configuration's."`
	TokenFile string `env:"WAGATE_TOKEN_FILE" placeholder:"FILE" help:"File with the token of the admin API."`
}

// adminClient asks the admin API of the running gateway.
type adminClient struct {
	base  *url.URL
	token string
	http  *http.Client
}

const (
	requestLimit = 30 * time.Second
	maxToken     = 64 << 10
)

// client finds the gateway. With --admin no configuration is read.
func (f adminFlags) client() (*adminClient, error) {
	address, token := f.Admin, ""
	if address == "" {
		admin, err := config.LoadAdmin(f.Config)
		if err != nil {
			return nil, usageError{fmt.Errorf("%s: %w; or name the address by --admin", f.Config, err)}
		}
		address, token = admin.Listen, admin.Token.Reveal()
	}
	if f.TokenFile != "" {
		text, err := readToken(f.TokenFile)
		if err != nil {
			return nil, usageError{fmt.Errorf("--token-file: %w", err)}
		}
		token = text
	}
	base, err := adminURL(address)
	if err != nil {
		return nil, usageError{err}
	}
	return &adminClient{base: base, token: token, http: &http.Client{Transport: &http.Transport{}}}, nil
}

func readToken(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxToken))
	return strings.TrimSpace(string(text)), errors.Join(err, file.Close())
}

// adminURL takes a URL or host:port; an address of all interfaces is asked on
// this machine.
func adminURL(address string) (*url.URL, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not an address; write it like 127.0.0.1:9464", address)
	}
	if a, err := netip.ParseAddr(u.Hostname()); u.Hostname() == "" || err == nil && a.IsUnspecified() {
		host := "127.0.0.1"
		if a.Is6() {
			host = "::1"
		}
		u.Host = net.JoinHostPort(host, u.Port())
	}
	return u, nil
}

// do asks one thing; the caller closes the body. What the gateway refuses is
// an error in its own words.
func (c *adminClient) do(ctx context.Context, method, path string, query url.Values) (*http.Response, error) {
	return c.send(ctx, method, path, query, http.NoBody)
}

// send is do with a body, in JSON.
func (c *adminClient) send(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Response, error) {
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	if body != http.NoBody {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("no gateway answers at %s; is it running? (wagate serve, or name its address by --admin)", c.base.Host)
	case err != nil:
		return nil, err
	case resp.StatusCode < http.StatusMultipleChoices:
		return resp, nil
	}
	return nil, errors.Join(refusal(resp), resp.Body.Close())
}

// refusal is what the gateway says about a request that it does not answer.
func refusal(resp *http.Response) error {
	var body struct {
		Error struct{ Code, Message string }
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxToken)).Decode(&body); err != nil || body.Error.Message == "" {
		return fmt.Errorf("the gateway answers %s; is this its admin address?", resp.Status)
	}
	if resp.StatusCode == http.StatusUnauthorized {
		return errors.New("the gateway wants another token; name its file by --token-file")
	}
	return errors.New(clean(body.Error.Message))
}

// readAnswer reads an answer whole, as --json prints it, and closes it.
func readAnswer(resp *http.Response) (text json.RawMessage, err error) {
	if err := errors.Join(json.NewDecoder(resp.Body).Decode(&text), resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return text, nil
}

// get reads one answer in JSON.
func (c *adminClient) get(ctx context.Context, path string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	resp, err := c.do(ctx, http.MethodGet, path, query)
	if err != nil {
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return errors.Join(fmt.Errorf("read the answer: %w", err), resp.Body.Close())
	}
	return resp.Body.Close()
}
