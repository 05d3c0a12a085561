package impact

// Service is what people call a kind of server. Its value is the name in the
// API and in the snapshot, which must not change.
type Service string

// Service classes. A port says what it is for (IANA's registry of service names
// and port numbers, or the maker's documentation where none is registered);
// what runs on another port is Other.
const (
	Files    Service = "files"    // SMB, NFS, AFP, FTP, iSCSI
	Print    Service = "print"    // raw, IPP, LPD
	Mail     Service = "mail"     // SMTP, POP3, IMAP
	Database Service = "database" // SQL and the like
	Web      Service = "web"      // pages and applications in the office
	Remote   Service = "remote"   // RDP, VNC, SSH, Telnet
	SignIn   Service = "sign_in"  // Kerberos, LDAP, RADIUS
	Names    Service = "names"    // DNS, DHCP
	Backup   Service = "backup"   // rsync, Bacula, …
	Phone    Service = "phone"    // SIP and others
	Camera   Service = "camera"   // RTSP
	Network  Service = "network"  // the device forwards for others
	Other    Service = "other"
	Internet Service = "internet" // only in Preview.Uses
)

// services in the order of Preview for equal numbers: what hurts first. The
// index is the compact form in the tables.
var services = [...]Service{SignIn, Files, Network, Names, Database, Print, Phone, Mail, Web, Backup, Remote, Camera, Other, Internet}

type class uint8

const classCount = len(services)

var classOf = func() map[Service]class {
	m := map[Service]class{}
	for i, s := range services {
		m[s] = class(i)
	}
	return m
}()

var classNetwork, classNames, classOther, classInternet, classPrint = classOf[Network], classOf[Names], classOf[Other], classOf[Internet], classOf[Print]

const (
	protoTCP = 6
	protoUDP = 17
	// handedOut is where Linux begins to hand out ports by itself
	// (ip_local_port_range); Windows does at 49152 (RFC 6335). A server's port
	// above is one side of a passive transfer, of a call, of an RPC: the service
	// that arranged it has been counted.
	handedOut = 32768
)

// ports by service, of TCP unless they stand under udpPorts.
var tcpPorts = index(map[Service][]uint16{
	Files:    {20, 21, 139, 445, 548, 989, 990, 2049, 3260},
	Print:    {515, 631, 9100},
	Mail:     {25, 110, 143, 465, 587, 993, 995},
	Database: {1433, 1521, 3050, 3306, 5003, 5432, 6379, 27017, 50000}, // 5003: FileMaker, 3050: Firebird
	Web:      {80, 443, 3000, 5000, 5001, 8000, 8008, 8080, 8081, 8443, 8888},
	Remote:   {22, 23, 3389, 5900, 5901, 5902, 5903, 5985, 5986},
	SignIn:   {49, 88, 389, 464, 636, 3268, 3269},
	Names:    {53, 853},
	Backup:   {873, 6281, 9101, 9102, 9103, 9876, 10006}, // 6281: Hyper Backup, 9876: Acronis, 10006: Veeam
	Phone:    {1720, 2000, 5060, 5061},
	Camera:   {554, 8554},
})

var udpPorts = index(map[Service][]uint16{
	Files:  {2049},
	Print:  {631},
	SignIn: {88, 389, 464, 1645, 1646, 1812, 1813},
	Names:  {53, 67, 853},
	Phone:  {2427, 4569, 5060},
	Camera: {554},
	Web:    {443}, // QUIC
	Remote: {3389},
})

// chatter are datagrams by which devices find each other without anybody using
// anything: NetBIOS names, mDNS, LLMNR, SSDP, WS-Discovery. NTP, SNMP and STUN
// are left out too: their loss stops nobody's work.
var chatter = map[uint16]bool{123: true, 137: true, 138: true, 161: true, 1900: true, 3478: true, 3702: true, 5353: true, 5355: true}

func index(by map[Service][]uint16) map[uint16]class {
	m := map[uint16]class{}
	for s, ports := range by {
		for _, p := range ports {
			m[p] = classOf[s]
		}
	}
	return m
}

// classify says what a server's port is for; false: it is no service that
// anybody would miss.
func classify(proto uint8, client, server uint16) (class, bool) {
	switch proto {
	case protoTCP:
		if c, ok := tcpPorts[server]; ok {
			return c, true
		}
		return classOther, server < handedOut
	case protoUDP:
		if c, ok := udpPorts[server]; ok {
			return c, true
		}
		// Equal ports are how peers talk, not clients and servers.
		return classOther, server < handedOut && server != client && !chatter[server]
	}
	return 0, false
}
