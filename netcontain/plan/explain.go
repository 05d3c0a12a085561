package plan

import (
	"fmt"
	"strings"

	"sekisho/netcontain"
)

// explain says why these mechanisms, and what they do not cover.
func (c *choice) explain(s scene, claimed int) {
	h := &c.hold
	switch {
	case claimed > 0 && len(c.host.MACs)+len(c.host.Addrs) > 0:
		h.Limits = append(h.Limits, claimedText(claimed))
	case claimed > 0 && c.host.Level != netcontain.Watch:
		h.limit(onlyNever(len(c.host.Ports) > 0))
	}
	if c.host.Level == netcontain.Watch || len(h.Mechanisms) == 0 {
		return
	}
	h.Reason = c.reason(s)
	if len(c.host.MACs)+len(c.host.Addrs) == 0 {
		return
	}
	if len(h.Ports) == 0 {
		h.limit(portUnknown())
	}
	if len(c.ports.shared) > 0 {
		h.limit(sharedLimit(h.Neighbours, len(h.Shared) > 0))
	}
	if others := append(append([]string{}, c.ports.trunk...), c.ports.uplink...); len(others) > 0 {
		h.limit(manyBehind(names(others)))
	}
	switch refused := c.has(netcontain.ByWiFi); {
	case refused:
		h.limit(otherMAC())
	case len(c.ports.refuse)+len(c.ports.airless) > 0:
		h.limit(onAir())
	}
	if h.Newcomers > 0 && len(c.host.Ports) > 0 {
		h.Limits = append(h.Limits, newcomers(h.Newcomers, len(h.Known), names(c.host.Ports)))
	}
	if len(c.host.MACs) == 0 {
		h.limit(addressesOnly())
	}
}

// limit adds something that is not covered.
func (h *Hold) limit(t Text) {
	h.BestEffort = true
	h.Limits = append(h.Limits, t)
}

func (c *choice) has(m netcontain.Mechanism) bool {
	for _, by := range c.host.By {
		if by == m {
			return true
		}
	}
	return false
}

// reason has a sentence for each kind of port that the host is on.
func (c *choice) reason(s scene) Text {
	var said []Text
	if ports := c.host.Ports; len(ports) > 0 {
		if c.has(netcontain.ByVLAN) {
			said = append(said, moved(names(ports)))
		} else {
			said = append(said, whole(names(ports)), c.notMoved(s))
		}
	}
	if c.has(netcontain.ByWiFi) {
		said = append(said, refusedOn(names(c.ports.refuse)))
	}
	if c.has(netcontain.BySegment) {
		said = append(said, toldNeighbours(names(c.ports.shared)))
	}
	if len(said) == 0 {
		said = append(said, setsOnly())
		if c.host.Level == netcontain.Limit {
			said = append(said, c.notMoved(s))
		}
	}
	var out Text
	for _, t := range said {
		out.EN = strings.TrimSpace(out.EN + " " + t.EN)
		out.JA += t.JA
	}
	return out
}

// notMoved says why the quarantine VLAN was not chosen for a host that is alone
// on its ports.
func (c *choice) notMoved(s scene) Text {
	switch {
	case c.host.Level == netcontain.Limit:
		return Text{
			EN: "Restricted devices stay in their network, so that the permitted services go on working.",
			JA: "「制限」の段階では、許可されたサービスを使い続けられるように、機器を元のネットワークに残します。",
		}
	case s.VLAN == 0:
		return Text{
			EN: "No quarantine network is set up, so the port was not moved.",
			JA: "隔離用ネットワークが設定されていないため、ポートは移していません。",
		}
	case !s.Filtering:
		return Text{
			EN: "The bridge of this gateway does not tell VLANs apart, so the port was not moved.",
			JA: "このゲートウェイのブリッジは VLAN を区別しないため、ポートは移していません。",
		}
	}
	return Text{
		EN: "The port is not connected to the bridge at the moment, so it was not moved.",
		JA: "ポートが現在ブリッジにつながっていないため、移していません。",
	}
}

func names(ports []string) string { return strings.Join(ports, ", ") }

func moved(ports string) Text {
	return Text{
		EN: fmt.Sprintf("The device is alone on port %s: the port was moved to the quarantine network.", ports),
		JA: fmt.Sprintf("ポート %s につながっているのはこの機器だけなので、ポートごと隔離用ネットワークに移しました。", ports),
	}
}

func whole(ports string) Text {
	return Text{
		EN: fmt.Sprintf("The device is alone on port %s: the whole port is blocked.", ports),
		JA: fmt.Sprintf("ポート %s につながっているのはこの機器だけなので、ポートごと遮断しています。", ports),
	}
}

func refusedOn(points string) Text {
	return Text{
		EN: fmt.Sprintf("The device uses our Wi-Fi (%s): the access point refuses it.", points),
		JA: fmt.Sprintf("この機器は本機の無線 LAN（%s）を使っているため、アクセスポイントで接続を拒否しています。", points),
	}
}

func toldNeighbours(ports string) Text {
	return Text{
		EN: fmt.Sprintf("The device shares port %s with others: it is blocked by its MAC and addresses, and its neighbours there are steered away from it.", ports),
		JA: fmt.Sprintf("この機器はポート %s をほかの機器と共有しています。MAC アドレスと IP アドレスで遮断し、同じスイッチの機器との通信も妨げています。", ports),
	}
}

func setsOnly() Text {
	return Text{
		EN: "The device is blocked by its MAC and addresses.",
		JA: "この機器を MAC アドレスと IP アドレスで遮断しています。",
	}
}

func nothingKnown() Text {
	return Text{
		EN: "Neither a MAC nor an IP address of the device is known: it is not held. Pull its network cable.",
		JA: "この機器の MAC アドレスも IP アドレスも分からないため、遮断できていません。この機器の LAN ケーブルを抜いてください。",
	}
}

func claimedText(n int) Text {
	return Text{
		EN: fmt.Sprintf("The device used %d address(es) of the gateway or its uplink; it is held by its other addresses only.", n),
		JA: fmt.Sprintf("この機器はゲートウェイまたは上位ルーターのアドレスを %d 個使っていました。そのアドレスでは遮断できないため、ほかのアドレスで遮断しています。", n),
	}
}

func portUnknown() Text {
	return Text{
		EN: "It is not known which port the device is on. It is held by its MAC and addresses; broadcasts of other devices may still reach it, and a device that changes both MAC and address is not recognised.",
		JA: "この機器がどのポートにつながっているか分かりません。MAC アドレスと IP アドレスで遮断していますが、ほかの機器のブロードキャストは届くことがあり、両方のアドレスを変えられると見分けられません。",
	}
}

// sharedLimit is for a port with neighbours; steered says that they are told to
// keep away.
func sharedLimit(neighbours int, steered bool) Text {
	if steered {
		return Text{
			EN: fmt.Sprintf("Behind a switch that the gateway does not manage, the device shares its port with %d other device(s). Traffic between them is hindered, but a device that resists gets through: best effort. To be sure, pull the device's own cable.", neighbours),
			JA: fmt.Sprintf("この機器は、ゲートウェイが管理できないスイッチの先で、ほかの %d 台とポートを共有しています。同じスイッチにつながる機器との通信を妨げていますが、完全には止められません（できる範囲の対応です）。確実に止めるには、この機器のケーブルを抜いてください。", neighbours),
		}
	}
	return Text{
		EN: fmt.Sprintf("The device shares its port with %d other device(s), behind a switch that the gateway does not manage. Neighbours on the same switch are not protected: best effort. To be sure, pull the device's own cable.", neighbours),
		JA: fmt.Sprintf("この機器は、ゲートウェイが管理できないスイッチの先で、ほかの %d 台とポートを共有しています。同じスイッチにつながる機器は保護できません（できる範囲の対応です）。確実に止めるには、この機器のケーブルを抜いてください。", neighbours),
	}
}

func manyBehind(ports string) Text {
	return Text{
		EN: fmt.Sprintf("Port %s leads to other parts of the network, so it was not blocked as a whole: best effort. A device that changes both MAC and address is not recognised there.", ports),
		JA: fmt.Sprintf("ポート %s の先にはネットワークのほかの部分があるため、ポートごとの遮断はしていません（できる範囲の対応です）。機器が MAC アドレスと IP アドレスの両方を変えると見分けられません。", ports),
	}
}

func onAir() Text {
	return Text{
		EN: "The device is on a Wi-Fi that the gateway cannot make refuse it: other devices of the same access point are not protected. Switch its Wi-Fi off to be sure.",
		JA: "この機器が使う無線 LAN では、ゲートウェイから接続を拒否できません。同じアクセスポイントの機器は保護できないため、確実に止めるには、この機器の Wi-Fi をオフにしてください。",
	}
}

func otherMAC() Text {
	return Text{
		EN: "A device that comes back to the Wi-Fi under another MAC is a stranger until it is recognised. To be sure, change the Wi-Fi password or switch the device's Wi-Fi off.",
		JA: "この機器が別の MAC アドレスで無線 LAN につなぎ直すと、同じ機器だと分かるまで遮断できません。確実に止めるには、機器の Wi-Fi をオフにするか、無線 LAN のパスワードを変更してください。",
	}
}

func newcomers(n, known int, ports string) Text {
	t := Text{
		EN: fmt.Sprintf("%d other MAC address(es) appeared on port %s after the isolation, and are blocked with it. They may be inventions of the device.", n, ports),
		JA: fmt.Sprintf("隔離したあとに、ポート %[2]s でほかの MAC アドレスが %[1]d 個見つかり、ポートとともに遮断しています。この機器が作り出したアドレスかもしれません。", n, ports),
	}
	if known > 0 {
		t.EN += fmt.Sprintf(" %d of them belong(s) to devices that the office already knew.", known)
		t.JA += fmt.Sprintf("そのうち %d 個は、以前から使われている機器のものです。", known)
	}
	t.EN += " If somebody has connected a switch there, move the other devices to another port, or record the switch in the settings."
	t.JA += "スイッチをつないだ場合は、ほかの機器を別のポートに移すか、そのポートにスイッチがあることを設定で登録してください。"
	return t
}

func addressesOnly() Text {
	return Text{
		EN: "The device's MAC is not known; it is held by its addresses only.",
		JA: "この機器の MAC アドレスが分からないため、IP アドレスだけで遮断しています。",
	}
}

// onlyNever says what becomes of a device that uses nothing but addresses that
// must not be blocked.
func onlyNever(byPort bool) Text {
	if byPort {
		return Text{
			EN: "The device uses only addresses of the gateway or its uplink. It is held by its port alone; on another port it is free. To be sure, pull its network cable.",
			JA: "この機器は、ゲートウェイまたは上位ルーターのアドレスしか使っていません。ポートごと遮断していますが、ほかのポートに移されると止められません。確実に止めるには、この機器の LAN ケーブルを抜いてください。",
		}
	}
	return Text{
		EN: "The device uses only addresses of the gateway or its uplink. To block those would cut off everybody: it is not held. Pull its network cable.",
		JA: "この機器は、ゲートウェイまたは上位ルーターのアドレスしか使っていません。遮断すると全員の通信が止まるため、この機器は遮断できていません。この機器の LAN ケーブルを抜いてください。",
	}
}
