package nstest

import (
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestNamespacesAreApart(t *testing.T) {
	a, b := New(t), New(t)
	a.Run(t, "ip link add veth-a type veth peer name veth-b")
	if out := a.Run(t, "ip -br link"); !strings.Contains(out, "veth-a") {
		t.Errorf("own link is not in its namespace:\n%s", out)
	}
	if out := b.Run(t, "ip -br link"); strings.Contains(out, "veth-a") {
		t.Errorf("a link leaked into another namespace:\n%s", out)
	}
}
