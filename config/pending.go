package config

// Pending names the sections of the file that are checked but have no effect
// yet. Every section is built now, so there are none.
func (c *Config) Pending() []string { return nil }
