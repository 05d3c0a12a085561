package detect

import "testing"

func FuzzSOAPPort(f *testing.F) {
	for _, s := range []string{"<NewInternalPort>3389</NewInternalPort>", `<NewInternalPort dt:dt="ui2">22<`,
		"NewInternalPort", "NewInternalPort>", "NewInternalPort>99999", "NewInternalPort>65535", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := string(b)
		soapPort(b, "NewInternalPort")
		if string(b) != before {
			t.Error("the body was changed")
		}
	})
}

// A past that is accepted comes back as it was written.
func FuzzRecallDevices(f *testing.F) {
	f.Add([]byte(`{"version":1,"watched":9,"known":[{"mac":"00:16:3e:00:00:01","since":3}]}`))
	f.Add([]byte(`{"version":1,"known":[{"mac":"00:16:3e:00:00:01","port":22}]}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := &network{Config: Config{MaxHosts: 8}}
		devices := newNewAsset(n)
		for _, d := range []remembering{devices, newNewService(n, devices)} {
			if d.recall(b) != nil {
				continue
			}
			once, err := d.remember()
			if err != nil {
				t.Fatal(err)
			}
			if err := d.recall(once); err != nil {
				t.Fatalf("%s: %v", once, err)
			}
			twice, err := d.remember()
			if err != nil || string(once) != string(twice) {
				t.Fatalf("%s\n%s\n%v", once, twice, err)
			}
		}
	})
}
