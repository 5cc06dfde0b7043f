package test

import (
	"fmt"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/rig"
)

// numbered gives a gateway that many business numbers beside its own, for calls
// whose trouble is to be no trouble of the others'. Its routes are for all of
// them.
func numbered(n int, o rig.Options) rig.Options {
	change := o.Config
	for i := range n {
		o.Meta.Numbers = append(o.Meta.Numbers, fakemeta.Number{ID: numberID(i), Display: fmt.Sprintf("351210001%03d", i), Token: "access-token"})
	}
	o.Config = func(c *config.Config) {
		if change != nil {
			change(c)
		}
		for i := range n {
			c.WhatsApp.Numbers = append(c.WhatsApp.Numbers, config.Number{
				Name: numberName(i), PhoneNumberID: numberID(i), Number: fmt.Sprintf("+351210001%03d", i),
				AccessToken: "access-token", Codecs: []string{"opus"},
			})
		}
		for i := range c.Routes {
			if c.Routes[i].Direction == "inbound" {
				c.Routes[i].Match.Number = ""
				continue
			}
			for j := range n {
				c.Routes[i].Number = append(c.Routes[i].Number, numberName(j))
			}
		}
	}
	return o
}

func numberName(i int) string { return fmt.Sprintf("line-%d", i) }

func numberID(i int) string { return fmt.Sprintf("4011223344%05d", i) }
