package config

// Pending names the sections of the file whose work is not built yet: they
// were checked but have no effect. It is empty for a Config that was not read
// from a file.
func (c *Config) Pending() []string { return c.pending }

// findPending lists them in the order of the file's sections.
func (c *Config) findPending() (names []string) {
	note := func(path string, is bool) {
		if is {
			names = append(names, path)
		}
	}
	for i, t := range c.Trunks {
		path := at("trunks", i)
		note(path+".dtmf", t.DTMF == "info")
	}
	return names
}
