package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const office = `
version = 1
[office]
name = "関所商会"
vendor = "Example IT"
vendor_phone = "03-0000-0000"
[network]
bridge = "br0"
ports = ["lan1", "lan2"]
wan = "wan0"
lan = ["192.168.77.0/24"]
dhcp_pool = { first = "192.168.77.100", last = "192.168.77.199" }
[storage]
state = "/var/lib/sekisho"
evidence = "/srv/evidence"
spool = "10GB"
[evidence]
before = "10m"
recipients = ["age1hqfwz7kck6gdw5d6dxz4x58h5d9khd593c2r8ktqxtkxfpp32f6s6z50jz"]
timestamp = "https://tsa.example/"
[remote]
interface = "wg0"
[copy]
medium = "/media/sekisho"
[copy.s3]
endpoint = "https://s3.example"
bucket = "office"
credentials = "/etc/sekisho/s3"
[copy.sftp]
host = "backup.example:22"
user = "sekisho"
folder = "evidence"
host_key = "backup.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMlD+qZeNM4YcsnyneGZU6b6sENxJTnZg7Z3VRsK1NDN"
[policy]
business_hours = "09:00-18:00"
protected = ["02:00:5e:00:53:01"]
[[indicators]]
name = "vendor"
url = "https://lists.example/domains.txt"
refresh = "1h"
trust = "high"
[[indicators]]
name = "own"
file = "/etc/sekisho/own.txt"
[eve]
file = "/var/log/suricata/eve.json"
`

func TestAFileIsReadOverTheDefaults(t *testing.T) {
	c, err := Parse([]byte(office))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := time.Duration(c.Evidence.Before), 10*time.Minute; got != want {
		t.Errorf("evidence.before = %v, want %v", got, want)
	}
	if got, want := time.Duration(c.Evidence.After), 5*time.Minute; got != want {
		t.Errorf("evidence.after = %v, want the default %v", got, want)
	}
	if c.Storage.Spool != 10e9 {
		t.Errorf("storage.spool = %d, want 10e9", c.Storage.Spool)
	}
	from, to, err := c.Policy.Hours()
	if from != 9*time.Hour || to != 18*time.Hour || err != nil {
		t.Errorf("business hours = %v-%v (%v), want 9h-18h", from, to, err)
	}
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	want, err := Parse([]byte(office))
	if err != nil {
		t.Fatal(err)
	}
	data, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(data)
	if err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	opts := cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmpopts.EquateEmpty(),
	}
	if d := cmp.Diff(want, got, opts); d != "" {
		t.Errorf("the settings changed on their way through a file (-want +got):\n%s", d)
	}
}

func TestTheQuarantineKeepsOutOfTheOfficesNetworks(t *testing.T) {
	for lan, want := range map[string]string{
		`["192.168.77.0/24"]`: "172.30.66.1/24", `["192.168.77.0/24", "172.16.0.0/12"]`: "10.166.66.1/24",
		`["192.168.77.0/24", "172.16.0.0/12", "10.0.0.0/8"]`: "192.168.166.1/24",
	} {
		c, err := Parse([]byte(strings.Replace(office, `lan = ["192.168.77.0/24"]`, "lan = "+lan, 1)))
		if err != nil || c.Network.Quarantine.String() != want {
			t.Errorf("lan = %s: quarantine %s, %v", lan, c.Network.Quarantine, err)
		}
	}
}

func TestProblemsNameTheirKey(t *testing.T) {
	for name, tc := range map[string]struct{ old, new, want string }{
		"unknown key":        {`[policy]`, "[policy]\nauto_isolat = true", "policy.auto_isolat: unknown key"},
		"wrong type":         {`wan = "wan0"`, `wan = 3`, "network.wan"},
		"not TOML":           {`[office]`, `[office`, "line 4"},
		"bad size":           {`"10GB"`, `"ten"`, `"ten" is not a size`},
		"spool too small":    {`"10GB"`, `"64MiB"`, "storage.spool: must hold"},
		"host bits":          {`192.168.77.0/24`, `192.168.77.1/24`, "network.lan[0]: 192.168.77.1/24 has host bits set; write 192.168.77.0/24"},
		"port named twice":   {`"lan2"]`, `"lan1"]`, `network.ports[1]: "lan1" is already network.ports[0]`},
		"no port":            {`ports = ["lan1", "lan2"]`, `ports = []`, "network.ports: is empty"},
		"pool backwards":     {`first = "192.168.77.100"`, `first = "192.168.77.250"`, "network.dhcp_pool: first must not be after last"},
		"pool elsewhere":     {`last = "192.168.77.199"`, `last = "192.168.88.1"`, "network.dhcp_pool: is not inside"},
		"VLAN 5000":          {`wan = "wan0"`, "wan = \"wan0\"\nquarantine_vlan = 5000", "network.quarantine_vlan: 5000"},
		"the office's VLAN":  {`wan = "wan0"`, "wan = \"wan0\"\nquarantine_vlan = 1", "network.quarantine_vlan: 1 is not"},
		"not private":        {`wan = "wan0"`, "wan = \"wan0\"\nquarantine = \"203.0.113.1/24\"", "network.quarantine: 203.0.113.1/24 is not a private"},
		"a broadcast":        {`wan = "wan0"`, "wan = \"wan0\"\nquarantine = \"172.30.66.255/24\"", "network.quarantine: 172.30.66.255/24 is not"},
		"list of hosts":      {`wan = "wan0"`, "wan = \"wan0\"\nallow = [\"203.0.113.5/24\"]", "network.allow[0]: 203.0.113.5/24 has host bits set; write 203.0.113.0/24"},
		"list of neighbour":  {`wan = "wan0"`, "wan = \"wan0\"\nallow = [\"192.168.77.9/32\"]", "network.allow[0]: 192.168.77.9/32 is in network.lan"},
		"released at once":   {`[policy]`, "[policy]\nrelease_after = \"1s\"", "policy.release_after: must be at least 1m"},
		"one line for two":   {`[policy]`, "[panel]\nkind = \"gpio\"\nbutton = \"GPIO17\"\nred = \"GPIO17\"\n[policy]", `panel.red: "GPIO17" is already panel.button`},
		"no gateway there":   {`wan = "wan0"`, "wan = \"wan0\"\nquarantine = \"172.30.66.0/24\"", "network.quarantine: 172.30.66.0/24 is not a private IPv4 address"},
		"quarantine inside":  {`wan = "wan0"`, "wan = \"wan0\"\nquarantine = \"192.168.77.9/26\"", "network.quarantine: overlaps"},
		"name with a space":  {`wan = "wan0"`, "wan = \"wan0\"\nallow_names = [\"update example\"]", "network.allow_names[0]:"},
		"switch elsewhere":   {`wan = "wan0"`, "wan = \"wan0\"\nswitches = [\"lan9\"]", "network.switches[0]:"},
		"radio elsewhere":    {`wan = "wan0"`, "wan = \"wan0\"\nwifi = [\"wlan0\"]", "network.wifi[0]:"},
		"no probation":       {`[policy]`, "[policy]\nprobation = \"1m\"", "policy.probation: must be at least 1h"},
		"button nowhere":     {`[policy]`, "[panel]\nkind = \"gpio\"\nbutton = \"\"\n[policy]", "panel.button: is empty"},
		"button on PWM":      {`[policy]`, "[panel]\nkind = \"gpio\"\nbutton = \"pwm:0.1\"\n[policy]", "panel.button: \"pwm:0.1\" is an output"},
		"buzzer on PWM":      {`[policy]`, "[panel]\nkind = \"gpio\"\nbuzzer = \"pwm:0.1\"\n[policy]", "panel.buzzer:"},
		"buzzer on the lamp": {`[policy]`, "[panel]\nkind = \"gpio\"\nbuzzer = \"GPIO25\"\n[policy]", `panel.buzzer: "GPIO25" is already panel.blue`},
		"line of the screen": {`[policy]`, "[panel]\nkind = \"gpio\"\nbuzzer = \"GPIO2\"\n[policy]", `panel.buzzer: "GPIO2" is already panel.screen_bus 1`},
		"no channel":         {`[policy]`, "[panel]\nkind = \"gpio\"\nbutton = \"GPIO17\"\nred = \"pwm:0\"\n[policy]", "panel.red: \"pwm:0\" is not a PWM channel"},
		"channel with a 0":   {`[policy]`, "[panel]\nkind = \"gpio\"\nbutton = \"GPIO17\"\nred = \"pwm:0.01\"\n[policy]", "panel.red: \"pwm:0.01\" is not a PWM channel"},
		"other screen":       {`[policy]`, "[panel]\nkind = \"gpio\"\nscreen = \"lcd\"\n[policy]", "panel.screen:"},
		"reserved address":   {`[policy]`, "[panel]\nkind = \"gpio\"\nscreen_address = 0x78\n[policy]", "panel.screen_address: 0x78"},
		"odd height":         {`[policy]`, "[panel]\nkind = \"gpio\"\nscreen_height = 48\n[policy]", "panel.screen_height: 48"},
		"bus below zero":     {`[policy]`, "[panel]\nkind = \"gpio\"\nscreen_bus = -1\n[policy]", "panel.screen_bus: -1"},
		"night without end":  {`[policy]`, "[panel]\nnight = \"22:00\"\n[policy]", "not a part of the day"},
		"night of no time":   {`[policy]`, "[panel]\nnight = \"22:00-22:00\"\n[policy]", "not a part of the day"},
		"relative path":      {`"/srv/evidence"`, `"evidence"`, "storage.evidence:"},
		"bad protected MAC":  {`02:00:5e:00:53:01`, `02:00`, "policy.protected[0]:"},
		"bad hours":          {`09:00-18:00`, `18:00-09:00`, "policy.business_hours:"},
		"bad duration":       {`before = "10m"`, `before = "soon"`, "evidence.before"},
		"list named twice":   {`name = "own"`, `name = "vendor"`, `indicators[1].name: "vendor" is there twice`},
		"list from nowhere":  {`file = "/etc/sekisho/own.txt"`, ``, "indicators[1]: write either url or file"},
		"list by mail":       {`https://lists`, `mailto://lists`, "indicators[0].url:"},
		"list too trusted":   {`trust = "high"`, `trust = "total"`, "indicators[0].trust:"},
		"list too often":     {`refresh = "1h"`, `refresh = "1s"`, "indicators[0].refresh:"},
		"alerts from here":   {`"/var/log/suricata/eve.json"`, `"eve.json"`, "eve.file:"},
		"kept too short":     {`before = "10m"`, `keep = "24h"`, "evidence.keep: must be at least"},
		"no age key":         {`"age1`, `"agf1`, "evidence.recipients[0]:"},
		"stamp by mail":      {`https://tsa`, `mailto://tsa`, "evidence.timestamp:"},
		"remote on the WAN":  {`"wg0"`, `"wan0"`, "remote.interface: \"wan0\" is the WAN"},
		"access for a week":  {`"wg0"`, "\"wg0\"\nmax_grant = \"168h\"", "remote.max_grant:"},
		"no port at all":     {`"wg0"`, "\"wg0\"\nport = 0", "remote.port:"},
		"stick anywhere":     {`"/media/sekisho"`, `"media"`, "copy.medium:"},
		"S3 in the clear":    {`https://s3`, `http://s3`, "copy.s3.endpoint:"},
		"S3 without lock":    {`bucket = "office"`, "bucket = \"office\"\nlock = \"0s\"", "copy.s3.lock:"},
		"S3 no bucket":       {`bucket = "office"`, ``, "copy.s3.bucket:"},
		"SFTP without port":  {`"backup.example:22"`, `"backup.example"`, "copy.sftp.host:"},
		"SFTP on trust":      {`"backup.example ssh-ed25519 `, `"anything `, "copy.sftp.host_key:"},
		"newer version":      {`version = 1`, `version = 99`, "version: 99 was written by a newer program"},
		"version zero":       {`version = 1`, `version = 0`, "version: 0 is not a version"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(office, tc.old, tc.new, 1)
			if text == office {
				t.Fatalf("%q does not stand in the file", tc.old)
			}
			_, err := Parse([]byte(text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v does not contain %q", err, tc.want)
			}
		})
	}
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	_, err := Parse([]byte("[network]\nwan='x/y'\n[policy]\nmax_percent = 400\nwindw = 1\n"))
	for _, want := range []string{"policy.windw", "policy.max_percent", "network.wan", "network.ports", "network.lan"} {
		if err == nil || !strings.Contains(err.Error(), want+":") {
			t.Errorf("no problem reported for %s in:\n%v", want, err)
		}
	}
}

func TestAMissingFileSaysSo(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.toml"))
	if err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("error = %v", err)
	}
	path := filepath.Join(t.TempDir(), "bad.toml")
	if err := os.WriteFile(path, []byte("x = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v does not name the file", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(office))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err == nil && len(c.Validate()) != 0 {
			t.Error("Parse accepted what Validate refuses")
		}
	})
}
