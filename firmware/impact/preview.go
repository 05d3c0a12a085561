package impact

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"sekisho/firmware/asset"
	"sekisho/firmware/flow"
)

// Preview says what isolating a device at now would stop.
func (u *Usage) Preview(d Device, now time.Time) Preview {
	u.mu.Lock()
	found := u.collect(d, now.UnixNano())
	p := Preview{Device: d.ID, Stops: []Stop{}, Uses: u.uses(d, now.UnixNano()), Incomplete: u.lost != 0 && now.UnixNano()-u.lost < int64(Week), at: now}
	today := u.day(now.UnixNano())
	for n := range days {
		if u.watched.on(today, n) {
			p.Watched++
		}
	}
	if u.since != 0 {
		p.Since = time.Unix(0, max(u.since, now.Add(-Week).UnixNano())).In(now.Location())
	}
	u.mu.Unlock()
	if d.FirstSeen.After(p.Since) && !p.Since.IsZero() {
		p.Since = d.FirstSeen.In(now.Location())
	}
	all := map[asset.ID]bool{}
	for _, c := range u.group(d, found) { // names are asked for without the lock
		s := c.stop(today, now)
		s.New = c.first > now.Add(-24*time.Hour).UnixNano() && now.Sub(p.Since) > 48*time.Hour
		p.Stops = append(p.Stops, s)
		for id := range c.clients {
			all[id] = true
		}
	}
	p.Clients = len(all)
	slices.SortStableFunc(p.Stops, func(a, b Stop) int {
		return cmp.Or(cmp.Compare(b.Clients, a.Clients), cmp.Compare(classOf[a.Service], classOf[b.Service]))
	})
	return p
}

// collect copies what counts of a device's relations.
func (u *Usage) collect(d Device, now int64) (found []relation) {
	for _, mac := range d.MACs {
		for _, r := range u.servers[mac] {
			// The day on which a device became a suspect is the day of its attack.
			attack := r.when.oneDay() && u.suspect(r.client)
			if r.counts && !r.doubt && !attack && r.when.within(now) {
				found = append(found, *r)
			}
		}
	}
	return found
}

// uses is what the device's own user loses, in the order of services.
func (u *Usage) uses(d Device, now int64) []Service {
	out := []Service{}
	for c := range services {
		if slices.ContainsFunc(d.MACs, func(m flow.MAC) bool {
			w := u.users[m]
			return w != nil && w.used[c] != 0 && now-w.used[c] < int64(Week)
		}) {
			out = append(out, services[c])
		}
	}
	return out
}

// clients of one service, by device: one that comes by cable and by Wi-Fi, or
// with IPv4 and IPv6, is one.
type clients struct {
	class   class
	clients map[asset.ID]*client
	outside bool
	first   int64
	last    int64
}

type client struct {
	name string
	last int64
	when []stamps // of each of its MACs
}

func (u *Usage) group(d Device, found []relation) (out []*clients) {
	by := map[class]*clients{}
	for _, r := range found {
		id, name := asset.ID(""), ""
		if !r.client.IsZero() {
			if id, name = u.cfg.Name(r.client); id == d.ID || slices.Contains(d.MACs, r.client) {
				continue // the device talks to itself
			}
		}
		c := by[r.class]
		if c == nil {
			c = &clients{class: r.class, clients: map[asset.ID]*client{}, first: r.first}
			by[r.class] = c
			out = append(out, c)
		}
		c.first, c.last = min(c.first, r.first), max(c.last, r.when.last)
		if r.client.IsZero() {
			c.outside = true
			continue
		}
		one := c.clients[id]
		if one == nil {
			one = &client{name: name}
			c.clients[id] = one
		}
		one.last = max(one.last, r.when.last)
		one.when = append(one.when, r.when)
	}
	return out
}

func (c *clients) stop(today int32, now time.Time) Stop {
	s := Stop{Service: services[c.class], Clients: len(c.clients), Outside: c.outside, Last: time.Unix(0, c.last).In(now.Location())}
	ids := make([]asset.ID, 0, len(c.clients))
	for id, one := range c.clients {
		ids = append(ids, id)
		for n := range days {
			if slices.ContainsFunc(one.when, func(w stamps) bool { return w.on(today, n) }) {
				s.Days[n]++
			}
		}
	}
	slices.SortFunc(ids, func(a, b asset.ID) int {
		return cmp.Or(cmp.Compare(c.clients[b].last, c.clients[a].last), strings.Compare(string(a), string(b)))
	})
	for _, id := range ids[:min(len(ids), maxNames)] {
		s.Names = append(s.Names, c.clients[id].name)
	}
	return s
}

// titles are the services in sentences.
var titles = map[Service]text{
	Files: {EN: "shared files", JA: "共有フォルダー"}, Print: {EN: "printing", JA: "印刷"}, Mail: {EN: "mail", JA: "メール"},
	Database: {EN: "a database", JA: "データベース"}, Web: {EN: "web pages in the office", JA: "社内のウェブ画面"},
	Remote: {EN: "remote control", JA: "リモート操作"}, SignIn: {EN: "signing in", JA: "ログイン（認証）"},
	Names: {EN: "DNS and DHCP", JA: "DNS・DHCP（通信の土台）"}, Backup: {EN: "backups", JA: "バックアップ"},
	Phone: {EN: "telephones", JA: "電話"}, Camera: {EN: "camera pictures", JA: "カメラの映像"},
	Network: {EN: "the network behind it", JA: "通信の中継"}, Other: {EN: "other services", JA: "その他のサービス"},
	Internet: {EN: "the internet", JA: "インターネット"},
}

// Title is the service as people call it.
func (s Service) Title() text {
	if t, ok := titles[s]; ok {
		return t
	}
	return titles[Other]
}

// Sentence says in one sentence what others lose.
func (p Preview) Sentence() text {
	if len(p.Stops) == 0 {
		return p.nobody()
	}
	var en, ja []string
	for _, s := range p.Stops {
		e, j := s.phrase()
		en, ja = append(en, e), append(ja, j)
	}
	t := text{
		EN: "Isolating it stops " + join(en, ", ", " and ") + ".",
		JA: "隔離すると、" + strings.Join(ja, "、") + "が使えなくなります。",
	}
	if p.Incomplete {
		t.EN += " There may be more."
		t.JA += "ほかにもあるかもしれません。"
	}
	return t
}

func (s Stop) phrase() (en, ja string) {
	title := s.Service.Title()
	en, ja = title.EN, title.JA
	switch {
	case s.Clients > 0:
		en += " for " + devices(s.Clients)
		ja = fmt.Sprintf("%d台の%s", s.Clients, ja)
		if s.Outside {
			en += " and from the internet"
			ja += "（社外からの利用も）"
		}
	case s.Outside:
		en += " from the internet"
		ja = "社外からの" + ja
	}
	if s.New {
		en += " (first used today)"
		ja += "（今日初めて）"
	}
	return en, ja
}

func devices(n int) string {
	if n == 1 {
		return "1 device"
	}
	return fmt.Sprintf("%d devices", n)
}

// nobody is honest about how long anybody looked.
func (p Preview) nobody() text {
	if p.Since.IsZero() {
		return text{EN: "It is not known yet what isolating it stops: no traffic has been watched.", JA: "まだ通信を見ていないため、隔離すると何が止まるかは分かりません。"}
	}
	t := text{
		EN: "Nobody was seen using this device as a server in the last 7 days.",
		JA: "この7日間に、この機器をサーバーとして使った機器は見つかっていません。",
	}
	if p.at.Sub(p.Since) < Week-time.Hour {
		t = text{
			EN: fmt.Sprintf("Nobody was seen using this device as a server since %s, when watching it began.", p.Since.Format("2 Jan 15:04")),
			JA: fmt.Sprintf("見はじめた%sから、この機器をサーバーとして使った機器は見つかっていません。", p.Since.Format("1月2日15:04")),
		}
	}
	if p.Incomplete {
		t.EN += " The memory for this was full; something may be missing."
		t.JA += "記録があふれたため、もれがあるかもしれません。"
	}
	return t
}

// OwnUse says what the device's own user loses; empty when nothing is known.
func (p Preview) OwnUse() text {
	if len(p.Uses) == 0 {
		return text{}
	}
	var en, ja []string
	for _, s := range p.Uses {
		en, ja = append(en, s.Title().EN), append(ja, s.Title().JA)
	}
	return text{
		EN: "On the device itself these stop: " + join(en, ", ", " and ") + ".",
		JA: "この機器の利用者は、" + strings.Join(ja, "・") + "を使えなくなります。",
	}
}

// AtLimit says how the level "limit" differs: it too keeps the devices apart.
func (p Preview) AtLimit() text {
	if len(p.Stops) == 0 {
		return text{}
	}
	return text{
		EN: "Limiting it instead of isolating it stops the same for the other devices.",
		JA: "「制限」にとどめても、ほかの機器からは同じように使えなくなります。",
	}
}

func join(parts []string, comma, and string) string {
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	return strings.Join(parts[:len(parts)-1], comma) + and + parts[len(parts)-1]
}

// briefs are the services in the one line of the small screen; more is for a
// line that has to say that there are others.
var briefs = map[Service]struct{ en, ja, more string }{
	Files: {"files", "共有ファイル", "共有"}, Print: {"printing", "印刷", "印刷"}, Mail: {"mail", "メール", "メール"}, Database: {"database", "データベース", "DB"},
	Web: {"web pages", "社内Web", "Web"}, Remote: {"remote use", "遠隔操作", "遠隔"}, SignIn: {"sign-in", "ログイン", "認証"}, Names: {"DNS/DHCP", "DNS・DHCP", "DNS"},
	Backup: {"backup", "バックアップ", "控え"}, Phone: {"phones", "電話", "電話"}, Camera: {"cameras", "カメラ", "カメラ"}, Network: {"network", "通信の中継", "中継"}, Other: {"services", "サービス", "機能"},
}

// Brief is the same for the small screen: about 20 Latin or 10 Japanese
// characters; empty when nothing is known to stop.
func (p Preview) Brief() text {
	if len(p.Stops) == 0 || p.Clients == 0 {
		return text{}
	}
	b, n := briefs[p.Stops[0].Service], min(p.Clients, 999)
	if len(p.Stops) > 1 {
		return text{EN: fmt.Sprintf("Stops %s+: %d", b.en, n), JA: fmt.Sprintf("影響:%sほか%d台", b.more, n)}
	}
	return text{EN: fmt.Sprintf("Stops %s: %d", b.en, n), JA: fmt.Sprintf("影響:%s%d台", b.ja, n)}
}
