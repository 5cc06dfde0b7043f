package gateway

import (
	"os"
	"testing"

	"wagate/test/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }
