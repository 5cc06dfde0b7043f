package test

import (
	"flag"
	"os"
	"strconv"
	"testing"

	"wagate/test/leak"
)

// atOnce is how many tests run beside each other where the machine has fewer
// processors: calls wait far more than they work.
const atOnce = 4

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f != nil && f.Value.String() == f.DefValue {
		if n, err := strconv.Atoi(f.DefValue); err == nil && n < atOnce {
			_ = flag.Set(f.Name, strconv.Itoa(atOnce))
		}
	}
	os.Exit(leak.Main(m))
}
