package remote

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sekisho/firmware/remote/wire"
)

type schema struct {
	Type       string            `json:"type"`
	Required   []string          `json:"required"`
	Properties map[string]schema `json:"properties"`
	Enum       []string          `json:"enum"`
	Ref        string            `json:"$ref"`
	Items      *schema           `json:"items"`
}

type document struct {
	OpenAPI    string                                `json:"openapi"`
	Paths      map[string]map[string]json.RawMessage `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

func readDocument(t *testing.T) document {
	t.Helper()
	var d document
	if err := json.Unmarshal(openAPI, &d); err != nil || !strings.HasPrefix(d.OpenAPI, "3.1.") {
		t.Fatalf("openapi %q, %v", d.OpenAPI, err)
	}
	return d
}

func TestOpenAPIKnowsExactlyTheRoutes(t *testing.T) {
	d := readDocument(t)
	var want, got []string
	for _, rt := range table() {
		want = append(want, strings.ToLower(rt.method)+" "+rt.path)
	}
	for path, methods := range d.Paths {
		for method := range methods {
			got = append(got, method+" "+path)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("openapi.json has\n%s\nserved are\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// bodies are all struct types of package wire that travel.
var bodies = []any{wire.EnrollRequest{}, wire.EnrollReply{}, wire.Status{}, wire.Incidents{}, wire.Incident{}, wire.Package{},
	wire.GrantRequest{}, wire.Grant{}, wire.Consistency{}, wire.Error{}, wire.ErrorDetail{}}

func TestOpenAPIKnowsExactlyTheFields(t *testing.T) {
	d := readDocument(t)
	known := []string{"GrantState"}
	for _, b := range bodies {
		typ := reflect.TypeOf(b)
		s, ok := d.Components.Schemas[typ.Name()]
		if !ok {
			t.Errorf("openapi.json has no %s", typ.Name())
		}
		known = append(known, typ.Name())
		var required []string
		for i := range typ.NumField() {
			name, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if !strings.Contains(options, "omit") {
				required = append(required, name)
			}
			p, ok := s.Properties[name]
			if want := spelled(typ.Field(i).Type); !ok || kind(p) != want {
				t.Errorf("%s.%s is %q, want %q", typ.Name(), name, kind(p), want)
			}
			delete(s.Properties, name)
		}
		for name := range s.Properties {
			t.Errorf("%s.%s is only in openapi.json", typ.Name(), name)
		}
		if !slices.Equal(s.Required, required) {
			t.Errorf("%s requires %v, want %v", typ.Name(), s.Required, required)
		}
	}
	for name := range d.Components.Schemas {
		if !slices.Contains(known, name) {
			t.Errorf("%s is only in openapi.json", name)
		}
	}
}

func kind(s schema) string {
	if s.Ref != "" {
		return strings.TrimPrefix(s.Ref, "#/components/schemas/")
	}
	if s.Items != nil {
		return s.Type + " of " + kind(*s.Items)
	}
	return s.Type
}

func spelled(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return spelled(t.Elem())
	case t.Kind() == reflect.Slice:
		return "array of " + spelled(t.Elem())
	case t.String() == "time.Time" || t == reflect.TypeFor[string]():
		return "string"
	case t.Kind() == reflect.Bool:
		return "boolean"
	case t.Kind() == reflect.Int || t.Kind() == reflect.Int64:
		return "integer"
	}
	return t.Name()
}

// TestOpenAPIKnowsEveryWord reads package wire's source: constants cannot be
// found by reflection, nor a struct that bodies forgets.
func TestOpenAPIKnowsEveryWord(t *testing.T) {
	d := readDocument(t)
	f, err := parser.ParseFile(token.NewFileSet(), "wire/wire.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	words := map[string][]string{}
	structs := 0
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			text, ok := n.Values[0].(*ast.BasicLit)
			for _, prefix := range []string{"Code", "Grant"} {
				if ok && strings.HasPrefix(n.Names[0].Name, prefix) {
					word, _ := strconv.Unquote(text.Value)
					words[prefix] = append(words[prefix], word)
				}
			}
		case *ast.StructType:
			structs++
		}
		return true
	})
	if got := d.Components.Schemas["ErrorDetail"].Properties["code"].Enum; !slices.Equal(got, words["Code"]) || len(got) == 0 {
		t.Errorf("codes %v, want %v", got, words["Code"])
	}
	if got := d.Components.Schemas["GrantState"].Enum; !slices.Equal(got, words["Grant"]) || len(got) == 0 {
		t.Errorf("states %v, want %v", got, words["Grant"])
	}
	if structs != len(bodies) {
		t.Errorf("wire.go has %d structs, %d are compared", structs, len(bodies))
	}
}
