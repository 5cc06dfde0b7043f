package config

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

func isName(s string) bool { return namePattern.MatchString(s) }

func at(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// shortest is the least time that a limit can sensibly have.
const shortest = 100 * time.Millisecond

// The checks below add at most one fault, and none where the value could not
// even be read.

func (l *faultLog) missing(path, hint string) {
	if !l.faulty(path) {
		l.add(path, hint, "required")
	}
}

func (l *faultLog) required(path, value, hint string) {
	if value == "" {
		l.missing(path, hint)
	}
}

func (l *faultLog) secret(path string, s Secret) {
	if s == "" {
		l.missing(path, secretHint)
	}
}

func (l *faultLog) name(path, name string) {
	const hint = "letters, digits, dot, dash and underscore, at most 64"
	switch {
	case name == "":
		l.missing(path, hint)
	case !isName(name):
		l.add(path, hint, "%s is not a name", quoted(name))
	}
}

// unique notes value as that of element i and refuses a second one.
func (l *faultLog) unique(path, value string, i int, seen map[string]int) {
	if value == "" {
		return
	}
	if first, ok := seen[value]; ok {
		l.add(path, "each needs its own", "%s is that of entry %d too", quoted(value), first+1)
		return
	}
	seen[value] = i
}

func (l *faultLog) oneOf(path, value string, known ...string) {
	if !slices.Contains(known, value) && !l.faulty(path) {
		l.add(path, "write "+strings.Join(known, ", "), "%s is not known here", quoted(value))
	}
}

func (l *faultLog) atLeast(path string, value, least int) {
	if value < least && !l.faulty(path) {
		l.add(path, "write "+strconv.Itoa(least)+" or more", "%d is too small", value)
	}
}

// atMost checks the length of a list.
func (l *faultLog) atMost(path string, length, most int) {
	if length > most {
		l.add(path, "write "+strconv.Itoa(most)+" or fewer", "%d are too many", length)
	}
}

// between checks a duration; most 0 means no upper limit.
func (l *faultLog) between(path string, value, least, most time.Duration) {
	switch {
	case l.faulty(path):
	case value < least:
		l.add(path, "write "+least.String()+" or more", "%s is too short", value)
	case most > 0 && value > most:
		l.add(path, "write "+most.String()+" or less", "%s is too long", value)
	}
}

// hostPort checks the address of a listener; port 0 lets the system choose.
func (l *faultLog) hostPort(path, value string) {
	if l.faulty(path) {
		return
	}
	host, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err == nil && host != "" && host != "localhost" {
		_, err = netip.ParseAddr(host)
	}
	if err != nil {
		l.add(path, "write it like 0.0.0.0:8443 or [::]:8443", "%s is not an address to listen on", quoted(value))
	}
}

// keyPair checks a certificate and its key; both empty means no TLS.
func (l *faultLog) keyPair(path, cert, key string) {
	switch {
	case cert == "" && key == "":
	case cert == "":
		l.add(path+".cert", "name both or neither", "required beside key")
	case key == "":
		l.add(path+".key", "name both or neither", "required beside cert")
	default:
		if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
			l.add(path, "name PEM files that belong together", "%s", err.Error())
		}
	}
}

// ca checks a file of CA certificates; empty means the system's.
func (l *faultLog) ca(path, name string) {
	if name == "" {
		return
	}
	pem, err := os.ReadFile(name)
	if err != nil {
		l.add(path, "name a PEM file", "%s", err.Error())
	} else if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		l.add(path, "name a PEM file", "%s has no certificate", name)
	}
}

// codecs checks a list of codecs.
func (l *faultLog) codecs(path string, codecs, known []string) {
	if len(codecs) == 0 && !l.faulty(path) {
		l.add(path, "write "+strings.Join(known, ", "), "needs a codec")
	}
	for i, c := range codecs {
		switch {
		case slices.Contains(codecs[:i], c):
			l.add(at(path, i), "keep one of them", "%s is written twice", quoted(c))
		case slices.Contains(known, c):
		default:
			l.add(at(path, i), "use "+strings.Join(known, ", "), "unknown codec %s", quoted(c))
		}
	}
}
