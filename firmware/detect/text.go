package detect

import (
	"fmt"
	"strconv"
	"time"
)

// service names a port as people know it; unknown ones by number.
func service(proto uint8, port uint16) string {
	p := "tcp/"
	switch proto {
	case protoUDP:
		p = "udp/"
	case protoICMP:
		return "ping (ICMP)"
	}
	p += strconv.Itoa(int(port))
	if name := serviceNames[port]; name != "" && proto == protoTCP {
		return name + " (" + p + ")"
	}
	return p
}

var serviceNames = map[uint16]string{
	21: "FTP", 22: "SSH", 23: "Telnet", 80: "HTTP", 135: "RPC", 139: "NetBIOS", 443: "HTTPS", 445: "SMB",
	1433: "SQL Server", 2323: "Telnet", 3306: "MySQL", 3389: "RDP", 5555: "ADB", 5900: "VNC", 5985: "WinRM",
	6379: "Redis", 9100: "printer",
}

// label is how a text calls a device.
func (h Host) label() string {
	switch {
	case h.Name != "" && h.IP.IsValid():
		return h.Name + " (" + h.IP.String() + ")"
	case h.IP.IsValid():
		return h.IP.String()
	}
	return h.MAC.String()
}

// count writes a number whose bound was hit honestly.
func count(n int, full bool) (en, ja string) {
	if full {
		return fmt.Sprintf("at least %d", n), fmt.Sprintf("%d以上", n)
	}
	s := strconv.Itoa(n)
	return s, s
}

// span writes a duration in words of both languages.
func span(d time.Duration) (en, ja string) {
	switch {
	case d < time.Second:
		n := max(1, d.Milliseconds())
		return fmt.Sprintf("%d ms", n), fmt.Sprintf("%dミリ秒", n)
	case d < 2*time.Second:
		ms := d.Milliseconds()
		return fmt.Sprintf("%d.%d s", ms/1000, ms%1000/100), fmt.Sprintf("%d.%d秒", ms/1000, ms%1000/100)
	case d < 2*time.Minute:
		n := int(d.Round(time.Second).Seconds())
		return fmt.Sprintf("%d s", n), fmt.Sprintf("%d秒", n)
	case d < 2*time.Hour:
		n := int(d.Round(time.Minute).Minutes())
		return fmt.Sprintf("%d min", n), fmt.Sprintf("%d分", n)
	}
	n := int(d.Round(time.Hour).Hours())
	return fmt.Sprintf("%d h", n), fmt.Sprintf("%d時間", n)
}

// times writes how often, in words of both languages.
func times(n int) (en, ja string) {
	switch n {
	case 1:
		return "once", "1 回"
	case 2:
		return "twice", "2 回"
	}
	return fmt.Sprintf("%d times", n), fmt.Sprintf("%d 回", n)
}

// plural writes a number of things; one ends without s.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
