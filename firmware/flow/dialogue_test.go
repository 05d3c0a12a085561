package flow

import (
	"testing"

	"sekisho/firmware/capture"
	"sekisho/firmware/flow/flowtest"
)

func TestSSHNamesBothSidesWhoeverSpeaksFirst(t *testing.T) {
	server, client := "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "SSH-2.0-Go\r\n"
	sent := []string{"banner ssh server=false SSH-2.0-Go", "banner ssh server=true SSH-2.0-OpenSSH_9.2p1 Debian-2"}
	k := newTalker(2222)
	k.tcp(0, FlagACK, 100, []byte(client))
	k.tcp(1, FlagACK, 500, []byte(server))
	k.tcp(1, FlagACK, 500+uint32(len(server)), []byte("SSH-2.0-again\r\n"))
	k.want(t, sent[0], sent[1])
	k = newTalker(22)
	k.tcp(1, FlagACK, 500, []byte(server[:2]))
	k.tcp(1, FlagACK, 502, []byte(server[2:]))
	k.tcp(0, FlagACK, 100, []byte(client))
	k.want(t, sent[1], sent[0])
	k.tcp(0, FlagACK, 100+uint32(len(client)), []byte("no packet of a key exchange"))
	if c := k.track.table.at(1); c.dialogue != 0 || c.stream != [2]uint32{} {
		t.Errorf("slots %d and %v are still held", c.dialogue, c.stream)
	}
}

func TestDialogueSlotsAreBoundedAndComeBack(t *testing.T) {
	track := New(Config{})
	send := func(n int, flags uint8, dir int, data []byte, seq uint32) {
		ip := flowtest.IP{Src: hostA, Dst: hostB, Proto: ProtoTCP}
		s := flowtest.Segment{SrcPort: uint16(1024 + n), DstPort: 22, Seq: seq, Flags: flags}
		if dir == 1 {
			ip.Src, ip.Dst, s.SrcPort, s.DstPort = hostB, hostA, 22, uint16(1024+n)
		}
		b := ether.Frame(0x0800, ip.Packet(s.Bytes(data)))
		track.Frame(&capture.Frame{Data: b, OrigLen: len(b), Link: capture.LinkEthernet}, func(Event) {})
	}
	const more = 10
	for n := range dialogueSlots + more {
		send(n, FlagSYN, 0, nil, 0)
		send(n, FlagSYN|FlagACK, 1, nil, 0)
		send(n, FlagACK, 1, []byte("SSH-2.0-x\r\n"), 1)
	}
	if got := track.Stats().DeepSkipped; got != more {
		t.Errorf("%d dialogues went unread, want %d", got, more)
	}
	for n := range dialogueSlots + more {
		send(n, FlagRST, 0, nil, 1)
	}
	for range dialogueSlots {
		if track.dialogues.take() == 0 {
			t.Fatal("a closed connection keeps its dialogue")
		}
	}
}

// Whoever holds every slot, and says nothing more, hides nobody's log-in.
func TestAFullPoolTakesBackWhatIsSilent(t *testing.T) {
	k := newTalker(21)
	web(k, "<220 x\r\n")
	for i := range uint16(dialogueSlots + 100) {
		ip := flowtest.IP{Src: hostB, Dst: hostA, Proto: ProtoTCP}
		syn := flowtest.Segment{SrcPort: 1024 + i, DstPort: 80, Seq: 9, Flags: FlagSYN}
		k.frame(ether.Frame(0x0800, ip.Packet(syn.Bytes(nil))))
		back := flowtest.Segment{SrcPort: 80, DstPort: 1024 + i, Seq: 9, Flags: FlagSYN | FlagACK}
		k.frame(ether.Frame(0x0800, flowtest.IP{Src: hostA, Dst: hostB, Proto: ProtoTCP}.Packet(back.Bytes(nil))))
		get := flowtest.Segment{SrcPort: 1024 + i, DstPort: 80, Seq: 10, Flags: FlagACK}
		k.frame(ether.Frame(0x0800, ip.Packet(get.Bytes([]byte("GET / HTTP/1.1\r\n")))))
		k.tcp(0, FlagACK, 100+uint32(i), []byte("x")) // stays in use
	}
	k.seen = nil
	seq := uint32(100 + dialogueSlots + 100)
	k.tcp(0, FlagACK, seq, []byte("\r\n"))
	if d := k.track.table.at(1).dialogue; d == 0 {
		t.Fatal("a dialogue in use was taken for a silent one")
	}
	if s := k.track.Stats(); s.DeepSkipped < 101 {
		t.Errorf("%d given up, want those that gave way too", s.DeepSkipped)
	}
}
