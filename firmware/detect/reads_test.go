package detect

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
	"sekisho/firmware/flow/flowtest"
)

// all are events of every kind that is read by name.
var all = []flow.Event{
	&flow.Activity{}, &flow.ARP{}, &flow.Banner{}, &flow.Conn{}, &flow.DHCP{}, &flow.DNS{}, &flow.HTTP{},
	&flow.HTTPReply{}, &flow.ICMP{}, &flow.IRC{}, &flow.Kerberos{}, &flow.LDAP{}, &flow.Login{}, &flow.NDP{},
	&flow.Opaque{}, &flow.RPC{}, &flow.SMB{}, &flow.SSDP{}, &flow.Tick{}, &flow.TLSCert{}, &flow.TLSHello{},
}

// What a detector declares is what its Observe names, so that nobody who adds
// a case is left without the events for it.
func TestDetectorsDeclareTheEventsThatTheyRead(t *testing.T) {
	byName := map[string]kinds{"isContact": onConn} // what network read out of one
	for _, ev := range all {
		byName[reflect.TypeOf(ev).Elem().Name()] = kindOf(ev)
	}
	named := observed(t, byName)
	for _, d := range New(Config{}).list {
		s, ok := d.(selective)
		if !ok {
			continue
		}
		if typ := reflect.TypeOf(d).Elem().Name(); s.reads() != named[typ] {
			t.Errorf("%s declares %022b, and its Observe reads %022b", typ, s.reads(), named[typ])
		}
	}
}

// observed is, for each type, which of the names stand in its Observe, or in
// its own methods that are handed the whole event.
func observed(t *testing.T, byName map[string]kinds) map[string]kinds {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]kinds{}
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			m, ok := decl.(*ast.FuncDecl)
			if !ok || m.Recv == nil || !takesEvent(m) {
				continue
			}
			typ := m.Recv.List[0].Type.(*ast.StarExpr).X.(*ast.Ident).Name
			ast.Inspect(m.Body, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					named[typ] |= byName[s.Sel.Name]
				}
				return true
			})
		}
	}
	return named
}

// takesEvent tells a method with an event of any type among its parameters.
func takesEvent(m *ast.FuncDecl) bool {
	return slices.ContainsFunc(m.Type.Params.List, func(p *ast.Field) bool {
		s, ok := p.Type.(*ast.SelectorExpr)
		return ok && s.Sel.Name == "Event"
	})
}

// An engine that hands everything to everybody finds the same.
func TestEventsThatNobodyReadsChangeNothing(t *testing.T) {
	assets := asset.New(asset.Config{})
	few, every := New(Config{Assets: assets}), New(Config{Assets: assets})
	for i := range every.by {
		every.by[i] = every.list
	}
	tracker := flow.New(flow.Config{})
	events := 0
	compare := func(ev flow.Event) {
		events++
		assets.Observe(ev)
		if a, b := few.Observe(ev), every.Observe(ev); !reflect.DeepEqual(a, b) {
			t.Fatalf("%T: %v, and %v when everybody sees it", ev, a, b)
		}
	}
	for _, f := range flowtest.Mix(20_000, 1) {
		tracker.Frame(&f, compare)
	}
	tracker.Flush(compare)
	if a, b := few.Stats(), every.Stats(); !reflect.DeepEqual(a, b) {
		t.Errorf("%v, and %v when everybody sees everything", a, b)
	}
	if events < 2000 {
		t.Errorf("only %d events", events)
	}
}

func TestEveryEventHasOneKindOfItsOwn(t *testing.T) {
	var seen []kinds
	for _, ev := range append(slices.Clone(all), &flow.Malformed{}) {
		if k := kindOf(ev); slices.Contains(seen, k) {
			t.Errorf("%T shares its kind", ev)
		} else {
			seen = append(seen, k)
		}
	}
	if len(seen) != kindCount {
		t.Errorf("%d kinds, and %d are counted", len(seen), kindCount)
	}
}
