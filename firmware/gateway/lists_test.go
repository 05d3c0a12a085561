
// callFrames is one connection of the infected host that is answered.
func callFrames(to netip.Addr) []capture.Frame {
	port := uint16(20000 + int(to.As4()[3]))
	there, back := flowtest.IP{Src: infectIP, Dst: to, Proto: 6}, flowtest.IP{Src: to, Dst: infectIP, Proto: 6}
	syn := flowtest.Segment{SrcPort: port, DstPort: 443, Seq: 1, Flags: flow.FlagSYN}
	ack := flowtest.Segment{SrcPort: 443, DstPort: port, Seq: 9, Ack: 2, Flags: flow.FlagSYN | flow.FlagACK}
	s := frameScript{at: start}
	s.send(flowtest.Ether{Src: infected, Dst: neighbourM}.Frame(there.EtherType(), there.Packet(syn.Bytes(nil))), time.Millisecond)
	s.send(flowtest.Ether{Src: neighbourM, Dst: infected}.Frame(back.EtherType(), back.Packet(ack.Bytes(nil))), time.Millisecond)
	return s.frames
}
