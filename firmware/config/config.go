// Package config loads, migrates and validates the one TOML settings file.
//
// The gateway's main calls it once. Unknown keys are refused, every problem is
// reported at once with its key path, and nothing here touches the network or
// the disk beyond the file that was named.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// Version is the settings format that this program writes.
const Version = 1

// Config is the whole file. Load returns it complete: every default filled in.
type Config struct {
	Version  int      `toml:"version"`
	Office   Office   `toml:"office"`
	Network  Network  `toml:"network"`
	Storage  Storage  `toml:"storage"`
	Evidence Evidence `toml:"evidence"`
	Policy   Policy   `toml:"policy"`
	Decoy    Decoy    `toml:"decoy"`
	Drill    Drill    `toml:"drill"`
	Detect   Detect   `toml:"detect"`
	// Indicators are lists of known bad names, addresses and fingerprints.
	Indicators []IndicatorList `toml:"indicators"`
	Eve        Eve             `toml:"eve"`
	Remote     Remote          `toml:"remote"`
	Copy       Copy            `toml:"copy"`
	Panel      Panel           `toml:"panel"`
	Web        Web             `toml:"web"`
}

// Office says whose gateway this is and who helps.
type Office struct {
	Name        string `toml:"name"`
	Lang        string `toml:"lang"` // "ja" or "en"
	Vendor      string `toml:"vendor"`
	VendorPhone string `toml:"vendor_phone"`
}

// Network names the interfaces. The bridge and its ports exist already
// (systemd-networkd makes them); sekisho raises the ports when HoldPorts is
// set, after the containment policy is in the kernel.
type Network struct {
	Bridge    string         `toml:"bridge"`
	Ports     []string       `toml:"ports"`
	WAN       string         `toml:"wan"`
	LAN       []netip.Prefix `toml:"lan"`
	HoldPorts bool           `toml:"hold_ports"`
	// Allow is what a limited host may still reach on the internet.
	Allow []netip.Prefix `toml:"allow"`
	// AllowNames are names, with everything below them, that a limited host may
	// reach too: dnsmasq puts their addresses into our sets. Allow is for networks.
	AllowNames []string `toml:"allow_names"`
	// DNSMasq is the file of dnsmasq's settings for AllowNames that is written at
	// the start; dnsmasq has to read it (conf-file=). Empty: none is.
	DNSMasq string `toml:"dnsmasq"`
	// QuarantineVLAN is where the port of an isolated host is moved, on a bridge
	// that filters VLANs; 0: never.
	QuarantineVLAN uint16 `toml:"quarantine_vlan"`
	// Quarantine is the gateway's address and network in that VLAN.
	Quarantine netip.Prefix `toml:"quarantine"`
	// Switches are those of Ports behind which a switch is, with several devices: such a
	// port is never held whole, or moved, for one of them.
	Switches []string `toml:"switches"`
	// WiFi are those of Ports that are access points run by hostapd, with its
	// control sockets in the folder Hostapd.
	WiFi    []string `toml:"wifi"`
	Hostapd string   `toml:"hostapd"`
	// Segment lets ARP and NDP keep an isolated host apart from neighbours on a
	// switch that the gateway does not manage.
	Segment bool `toml:"segment"`
	// DHCPServers besides the gateway itself that the owner knows of.
	DHCPServers []netip.Addr `toml:"dhcp_servers"`
	// DHCPPool is the range that dnsmasq leases: never used for decoys.
	DHCPPool Range `toml:"dhcp_pool"`
}

// Inside is every network that the gateway answers for: the office's, and the
// quarantine.
func (n Network) Inside() []netip.Prefix {
	if n.QuarantineVLAN == 0 {
		return n.LAN
	}
	return append(n.LAN[:len(n.LAN):len(n.LAN)], n.Quarantine.Masked())
}

// Range is an inclusive address range; the zero Range is empty.
type Range struct {
	First netip.Addr `toml:"first"`
	Last  netip.Addr `toml:"last"`
}

// Storage is where things are kept. State is small and precious (incidents,
// ledger, key); Evidence is large and belongs on the SSD.
type Storage struct {
	State    string `toml:"state"`
	Evidence string `toml:"evidence"`
	// Spool is the size of the rolling packet ring, in bytes.
	Spool Size `toml:"spool"`
	// Segment is the size of one ring file, in bytes.
	Segment Size `toml:"segment"`
	// OwnDisk demands that Evidence lies on another file system than State and /,
	// so that an SSD that is not plugged in never leads the ring onto the SD card.
	OwnDisk bool `toml:"own_disk"`
}

// Evidence is how much is frozen around an incident, and what becomes of it.
type Evidence struct {
	Before Duration `toml:"before"`
	After  Duration `toml:"after"`
	// Keep is how long closed incidents are kept, and bundles whose hold was
	// lifted; at least MinKeep.
	Keep Duration `toml:"keep"`
	// Quota is how much all bundles should take; 0: no limit. Beyond it those
	// whose hold was lifted go earlier, none before MinKeep.
	Quota Size `toml:"quota"`
	// Recipients are age public keys (age1…). What leaves the gateway is then
	// encrypted to them; without any it leaves in the clear.
	Recipients []string `toml:"recipients"`
	// Timestamp is the URL of a time-stamp server (RFC 3161); empty: none.
	Timestamp string `toml:"timestamp"`
}

// MinKeep is the handbook's least: logs are kept for 90 days.
const MinKeep = 90 * 24 * time.Hour

// Remote is the vendor's way in to sealed evidence. It is off until an
// interface is named, and the WAN can never be one.
type Remote struct {
	Interface string `toml:"interface"` // "wg0", or the bridge; empty: off
	Port      int    `toml:"port"`
	// Host is the name or address that invitations carry; empty: the
	// interface's first address.
	Host     string   `toml:"host"`
	Rate     Size     `toml:"rate"`      // of all downloads together, bytes a second
	MaxGrant Duration `toml:"max_grant"` // the longest access that may be granted
}

// Copy is where sealed bundles are copied to, off the box.
type Copy struct {
	// Medium is the folder under which plugged-in USB media appear; empty: they
	// are not used.
	Medium string `toml:"medium"`
	Rate   Size   `toml:"rate"` // of all uploads together, bytes a second
	S3     S3     `toml:"s3"`
	SFTP   SFTP   `toml:"sftp"`
}

// S3 is storage with the S3 interface and object lock; Bucket empty: none.
type S3 struct {
	Endpoint string `toml:"endpoint"` // "https://s3.example"
	Region   string `toml:"region"`
	Bucket   string `toml:"bucket"`
	Prefix   string `toml:"prefix"`
	// Credentials is a file, mode 0600, with the lines aws_access_key_id = … and
	// aws_secret_access_key = ….
	Credentials string   `toml:"credentials"`
	Lock        Duration `toml:"lock"`      // how long nobody can delete a copy
	LockMode    string   `toml:"lock_mode"` // "compliance" or "governance"
}

// SFTP is a server with SSH; Host empty: none.
type SFTP struct {
	Host    string `toml:"host"` // "backup.example:22"
	User    string `toml:"user"`
	HostKey string `toml:"host_key"` // the server's line of known_hosts
	Folder  string `toml:"folder"`
}

// Policy is when the gateway acts by itself, and how far.
type Policy struct {
	AutoIsolate bool     `toml:"auto_isolate"`
	MaxHosts    int      `toml:"max_hosts"`   // automatic isolations per Window
	MaxPercent  int      `toml:"max_percent"` // of active devices
	Window      Duration `toml:"window"`
	// Protected devices, by MAC address: only a person isolates them.
	Protected []string `toml:"protected"`
	// BusinessHours, "09:00-18:00" local time; empty means never. Inside
	// them an automatic isolation steps down to limit.
	BusinessHours string `toml:"business_hours"`
	// ReleaseAfter releases what was isolated automatically; 0: never.
	ReleaseAfter Duration `toml:"release_after"`
	// Probation is how long a released device is watched closely.
	Probation Duration `toml:"probation"`
}

// Decoy is the number of unused addresses that the gateway watches over.
type Decoy struct {
	Count int `toml:"count"`
}

// Drill is how exercises run.
type Drill struct {
	// Limit is how long a person has to press.
	Limit Duration `toml:"limit"`
}

// Detect is how detection learns.
type Detect struct {
	// Learn is how long a device is watched before its own history is a measure.
	Learn Duration `toml:"learn"`
	// DecoyNames are names that no device has and nobody should ask for.
	DecoyNames []string `toml:"decoy_names"`
}

// IndicatorList is one list and where it comes from: URL or File, not both.
type IndicatorList struct {
	Name    string   `toml:"name"`
	URL     string   `toml:"url"`
	File    string   `toml:"file"`
	Format  string   `toml:"format"`  // auto, plain, hosts, csv, stix, misp; empty: auto
	Trust   string   `toml:"trust"`   // low, medium, high; empty: medium. high may isolate without a person
	Refresh Duration `toml:"refresh"` // 0: 6h for URLs, 1m for files
	MaxAge  Duration `toml:"max_age"` // entries end this long after the last good read; 0: 720h
}

// Eve names the log of a Suricata that runs beside the gateway; File empty:
// there is none.
type Eve struct {
	File  string `toml:"file"`
	Trust string `toml:"trust"` // the highest band that an alert may reach: low, medium, high
}

// Panel chooses the front panel.
type Panel struct {
	// Kind is "virtual" (terminal and web page), "headless" (web page alone) or
	// "gpio" (button, lamp and screen on the board's header, and the web page).
	Kind string `toml:"kind"`
	// Chip and the lines, by the kernel's name ("GPIO17", see gpioinfo) or number. An
	// empty chip is the first that has the line, an empty light is not there. A light
	// may be "pwm:CHIP.CHANNEL" instead. What the file leaves out is as
	// hal/rpi/README.md draws it, but for the buzzer.
	Chip          string `toml:"chip"`
	Button        string `toml:"button"`
	ActiveLow     bool   `toml:"active_low"` // the button is a switch to ground
	Red           string `toml:"red"`
	Green         string `toml:"green"`
	Blue          string `toml:"blue"`
	LampActiveLow bool   `toml:"lamp_active_low"` // a common anode
	Buzzer        string `toml:"buzzer"`          // empty: there is none
	Mute          bool   `toml:"mute"`            // the buzzer stays silent
	// Screen is "ssd1306", "sh1106" or "none"; empty is none.
	Screen           string `toml:"screen"`
	ScreenBus        int    `toml:"screen_bus"`     // 1 is /dev/i2c-1
	ScreenAddress    int    `toml:"screen_address"` // 0x3C or 0x3D
	ScreenHeight     int    `toml:"screen_height"`  // 64 or 32 rows
	ScreenUpsideDown bool   `toml:"screen_upside_down"`
	Night            Span   `toml:"night"` // lamp and screen dim, the buzzer does not call
}

// wire fills in the drawn wiring where the file does not say otherwise: a button
// that is a switch to ground must not stop to work because its line was named.
func (p *Panel) wire(defined func(key string) bool) {
	if p.Kind != "gpio" {
		return
	}
	for _, drawn := range []struct {
		key  string
		to   *string
		name string
	}{
		{"button", &p.Button, "GPIO17"}, {"red", &p.Red, "GPIO23"}, {"green", &p.Green, "GPIO24"}, {"blue", &p.Blue, "GPIO25"},
		{"screen", &p.Screen, "ssd1306"},
	} {
		if !defined(drawn.key) {
			*drawn.to = drawn.name
		}
	}
	p.ActiveLow = p.ActiveLow || !defined("active_low")
}

// Span is a part of every day, from and to counted from midnight, written as
// "22:00-06:00"; it may cross midnight. The zero Span, written as "", is no time.
type Span struct{ From, To time.Duration }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Span) UnmarshalText(b []byte) error {
	*s = Span{}
	if len(b) == 0 {
		return nil
	}
	from, to, ok := strings.Cut(string(b), "-")
	first, err1 := time.Parse("15:04", from)
	last, err2 := time.Parse("15:04", to)
	if !ok || err1 != nil || err2 != nil || first.Equal(last) {
		return fmt.Errorf("%q is not a part of the day; write for example \"22:00-06:00\"", b)
	}
	midnight := first.Truncate(24 * time.Hour)
	*s = Span{first.Sub(midnight), last.Sub(midnight)}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (s Span) MarshalText() ([]byte, error) {
	if s == (Span{}) {
		return []byte{}, nil
	}
	clock := func(d time.Duration) string { return time.Time{}.Add(d).Format("15:04") }
	return []byte(clock(s.From) + "-" + clock(s.To)), nil
}

// Web is where the page is served. Listen is ignored when the service manager
// hands over a socket.
type Web struct {
	Listen string `toml:"listen"`
}

// Duration is a time.Duration written as "30m".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Size is a number of bytes written as "200GB", "64MiB" or "4096".
type Size int64

var units = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(b []byte) error {
	text := strings.TrimSpace(string(b))
	for _, u := range units {
		digits, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		var n int64
		if _, err := fmt.Sscanf(strings.TrimSpace(digits)+"\n", "%d\n", &n); err != nil || n < 0 || n > (1<<62)/u.bytes {
			break
		}
		*s = Size(n * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is not a size; write for example \"200GB\" or \"64MiB\"", text)
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%dB", int64(s)), nil }

// Default is a complete configuration but for the interfaces.
func Default() Config {
	return Config{
		Version: Version,
		Office:  Office{Name: "Office", Lang: "ja"},
		Network: Network{
			Bridge: "br0", WAN: "wan0", HoldPorts: true, DNSMasq: "/run/sekisho/dnsmasq.conf",
			QuarantineVLAN: 666, Quarantine: freeQuarantine(nil), Hostapd: "/run/hostapd", Segment: true,
		},
		Storage: Storage{
			State: "/var/lib/sekisho", Evidence: "/srv/evidence",
			Spool: 200e9, Segment: 64 << 20, OwnDisk: true,
		},
		Evidence: Evidence{
			Before: Duration(30 * time.Minute), After: Duration(5 * time.Minute),
			Keep: Duration(400 * 24 * time.Hour),
		},
		Remote: Remote{Port: 8443, Rate: 2e6, MaxGrant: Duration(8 * time.Hour)},
		Copy:   Copy{Rate: 2e6, S3: S3{Region: "us-east-1", Lock: Duration(400 * 24 * time.Hour), LockMode: "compliance"}},
		Policy: Policy{AutoIsolate: true, MaxHosts: 2, MaxPercent: 20, Window: Duration(10 * time.Minute), Probation: Duration(72 * time.Hour)},
		Decoy:  Decoy{Count: 3},
		Drill:  Drill{Limit: Duration(10 * time.Minute)},
		Detect: Detect{Learn: Duration(7 * 24 * time.Hour)},
		Eve:    Eve{Trust: "medium"},
		Panel:  Panel{Kind: "virtual", ScreenBus: 1, ScreenAddress: 0x3C, ScreenHeight: 64},
		Web:    Web{Listen: "127.0.0.1:8080"},
	}
}

// FreeQuarantine is the first of some rarely used private networks (RFC 1918) that
// nobody else uses, with the gateway's address in it; false when all are taken.
func FreeQuarantine(taken []netip.Prefix) (netip.Prefix, bool) {
	candidates := []netip.Prefix{
		netip.MustParsePrefix("172.30.66.1/24"), netip.MustParsePrefix("10.166.66.1/24"), netip.MustParsePrefix("192.168.166.1/24"),
	}
	for _, q := range candidates {
		if !slices.ContainsFunc(taken, q.Overlaps) {
			return q, true
		}
	}
	return candidates[0], false
}

// freeQuarantine is the default. Where there is none, Validate says what to do.
func freeQuarantine(lan []netip.Prefix) netip.Prefix {
	q, _ := FreeQuarantine(lan)
	return q
}

// Load reads the file over the defaults, migrates an older version, and
// validates. Errors are joined, each with its key path.
func Load(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("settings file %s does not exist; see firmware/README.md for one to start from", path)
	}
	if err != nil {
		return Config{}, fmt.Errorf("read settings: %w", err)
	}
	c, err := Parse(data)
	if err != nil {
		return Config{}, fmt.Errorf("settings file %s:\n%w", path, err)
	}
	return c, nil
}

// Parse is Load for bytes.
func Parse(data []byte) (Config, error) {
	data, err := migrate(data)
	if err != nil {
		return Config{}, err
	}
	c := Default()
	meta, err := toml.Decode(string(data), &c)
	if err != nil {
		return Config{}, err // names line and key itself
	}
	if !meta.IsDefined("network", "quarantine") {
		c.Network.Quarantine = freeQuarantine(c.Network.LAN)
	}
	c.Panel.wire(func(key string) bool { return meta.IsDefined("panel", key) })
	var problems []error
	for _, key := range meta.Undecoded() {
		problems = append(problems, fmt.Errorf("%s: unknown key", key))
	}
	if err := errors.Join(append(problems, c.Validate()...)...); err != nil {
		return Config{}, err
	}
	return c, nil
}

// Encode writes the settings as a file that Load reads back to the same value.
func (c Config) Encode() ([]byte, error) {
	var b bytes.Buffer
	err := toml.NewEncoder(&b).Encode(c)
	return b.Bytes(), err
}
