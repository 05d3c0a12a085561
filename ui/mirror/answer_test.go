package mirror

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/png"
	"strings"
	"testing"

	"sekisho/hal"
	"sekisho/hal/panel"
)

func pictureOf(cols, rows int) string {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, cols, rows))); err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

func TestWhatIsNoPanelIsRefused(t *testing.T) {
	const good = `{"state":"attention","target":"a","drill":false,"lamp":[{"color":"#ff9600","ms":150}],"lines":["x"],"image":"IMAGE"}`
	for name, c := range map[string]struct{ old, new, why string }{
		"good":                     {"", "", ""},
		"no JSON":                  {good, "<html>", "invalid character"},
		"another object":           {good, `{}`, "not a panel"},
		"a state of later":         {"attention", "panic", "not a panel"},
		"no target":                {`"target":"a",`, "", "not a panel"},
		"a lamp without time":      {"150", "0", "a lamp of"},
		"a lamp for ever":          {"150", "99999999999", "a lamp of"},
		"no colour":                {"#ff9600", "amber", "a lamp of"},
		"no picture":               {"IMAGE", "!", "the picture"},
		"a picture of another box": {"IMAGE", pictureOf(129, 64), "129 by 64"},
		"a huge picture":           {"IMAGE", pictureOf(3000, 3000), "3000 by 3000"},
		"many lines":               {`["x"]`, `[` + strings.Repeat(`"x",`, 20) + `"x"]`, "more than"},
		"a long line":              {`["x"]`, `["` + strings.Repeat("x", maxLine+1) + `"]`, "more than"},
		"too much":                 {`"x"`, `"` + strings.Repeat("x", maxAnswer) + `"`, "too long"},
	} {
		text := strings.Replace(strings.Replace(good, c.old, c.new, 1), "IMAGE", pictureOf(panel.Width, panel.Height), 1)
		s, err := parse([]byte(text))
		if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", name, err, c.why)
		}
		if err == nil && (s.status.State != hal.Attention || s.status.Target != "a" || s.rhythm[0] != (panel.Segment{Color: panel.Color{R: 255, G: 150}, Ms: 150})) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestAPictureComesAcrossDotByDot(t *testing.T) {
	want := *panel.Render(hal.Status{State: hal.Fault, Lang: "ja", FaultText: "記録用ディスク"}, 0)
	var b bytes.Buffer
	if err := want.WritePNG(&b, 1); err != nil {
		t.Fatal(err)
	}
	if got, err := picture(base64.StdEncoding.EncodeToString(b.Bytes())); err != nil || got != want {
		t.Errorf("another picture, %v", err)
	}
}

func FuzzAnythingMayAnswer(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(`{"state":"normal","target":"","lamp":[{"color":"#00ff00","ms":1000}],"lines":["正常です"],"image":%q}`, pictureOf(128, 64))))
	f.Add([]byte(`{"state":"normal","target":"","lamp":[],"lines":null,"image":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parse(data)
		if err == nil && (len(s.lines) > maxLines || len(s.rhythm) > maxSegments) {
			t.Error("more than is bounded")
		}
	})
}
