package detect

import (
	"math"
	"net/netip"
	"strings"
	"time"

	"sekisho/firmware/flow"
)

// smbRansom reports a device that replaces the files of a share by something
// else: what ransomware does to a file server. It follows each file that a
// client reads, overwrites, renames and deletes, over all its connections
// (multichannel), and judges a file when its former content is gone.
//
// Model. Kharraz et al., "UNVEIL", USENIX Security 2016, section 4 and figure
// 3, name the three ways: overwrite in place; read, write a new file, delete;
// and the same with a rename over the old name. A file that only disappears
// (moved, archived, cleaned up) has not been encrypted on the share and says
// nothing; neither does one that only appears. What became of a file is
// weighed by the signs of Scaife et al., "CryptoLock (and Drop It)", ICDCS
// 2016, section III: the type of its content is lost, entropy is high, many
// types funnel into one. The signs are added up as log likelihood ratios in
// Page's CUSUM (Biometrika 1954), since the change from ordinary work to
// encryption comes at a time that nobody knows. As Morato et al. ("REDFISH",
// J. Netw. Comput. Appl. 124, 2018) found for SMB, ten files are enough.
//
// "Uniform" is a test, no taste: the empirical entropy of n independent
// uniform symbols is log2 k - (k-1)/(2n ln 2) (Miller 1955). File formats
// begin with a head that is far from it; cipher text is not, whether as bytes
// or as base64.
//
// High needs signs of two kinds besides the sum (CryptoDrop's union), so that
// no single habit of one program adds up to it. Limits. Encrypted SMB3 is
// judged by ransom_rhythm.go. Whoever encrypts file by file with a tool whose
// endings are known (gpg, AxCrypt) stays at medium. Archives that replace
// files, and theft with deletion, are not called ransomware here. Content
// whose first write is shorter than 1 KB is not measured.
type smbRansom struct {
	net     *network
	files   *table[fileKey, sharedFile]
	stems   *table[fileKey, uint64] // name without ending -> path of the file that was read
	clients *table[source, rewriter]
	rhythm  *rewriteBeat
	out     []Finding
}

// fileKey names a file, as a hash: paths are long, and only equality counts.
type fileKey struct {
	src    source
	server netip.Addr
	tree   uint32
	path   uint64
}

// sharedFile is what one client did to one file.
type sharedFile struct {
	ending  string
	before  string // ending before the client renamed it; equal to ending otherwise
	by      fileKey
	read    bool
	wrote   bool
	created bool // by this client, so nobody's data
	gone    bool
	moved   bool // to by, by a rename
	dense   bool // was uniform when it was read
	head    int8 // of what was written at offset 0: 1 uniform, -1 not, 0 not measured
	judged  bool // score has been added to the client's sum
	score   float64
	counted bool // as lost
	mixed   bool // as uniform
	named   bool // by its new ending
}

// rewriter is one client and what it has done to files.
type rewriter struct {
	sum      float64
	lost     int // files whose content was replaced and that speak for encryption
	uniform  int
	tool     int            // of lost, those with an ending of a known encryption tool
	types    map[string]int // endings before, of lost files
	endings  map[string]int // odd new endings
	notes    map[string]noteDrop
	note     string
	first    time.Time
	servers  peerSet
	newest   fileKey // uniform file written last
	newestOK bool
	told     told
}

// noteDrop is a possible note: the folder where it was last written, and in
// how many.
type noteDrop struct {
	folder  uint64
	folders int
}

// Likelihoods of one rewritten file, ransomware against ordinary programs. Our
// own estimates: UNVEIL and CryptoDrop list the signs and find each in nearly
// every family, but give no rate for ordinary use, which is why these are
// kept far below what they saw. Names: Redemption (RAID 2017) and the
// families listed by REDFISH rename nine times in ten.
var (
	ransomRead       = math.Log(.95 / .50) // the content was read first: it has to be
	ransomUnread     = math.Log(.05 / .50)
	ransomUniform    = math.Log(.90 / .03)
	ransomStructured = math.Log(.10 / .97)
	ransomOddName    = math.Log(.80 / .01) // an ending that no common program uses
	ransomKnownName  = math.Log(.05 / .09)
	ransomSameName   = math.Log(.15 / .90)
	ransomNote       = math.Log(.50 / .001) // the same "how to recover" in three folders
)

// An office of 50 devices rewrites about a million files a year (80 a working
// day and device). Page's test raises a false alarm at most every e^h samples
// (Lorden 1971): h for one in a year, and for one in a month.
var (
	ransomHigh   = math.Log(1e6)
	ransomMedium = math.Log(1e6 / 12)
)

// Least files. Two files are an accident of one program's day; CryptoDrop and
// REDFISH lose ten at the median.
const (
	ransomLeast     = 3
	ransomLeastHigh = 5
	noteFolders     = 3
	// Types that funnel into one unknown ending are enough by themselves when
	// they are REDFISH's ten files: content may be encoded, or not captured.
	ransomFunnel = 10
	maxNote      = 64 << 10
	// Bounds of what is remembered of one client.
	maxEndings = 64
	maxNotes   = 16
)

func newSMBRansom(n *network) *smbRansom {
	return &smbRansom{
		net: n, files: newTable[fileKey, sharedFile](1<<14, 0), stems: newTable[fileKey, uint64](1<<15, 0),
		clients: newTable[source, rewriter](n.MaxHosts, 0), rhythm: newRewriteBeat(n),
	}
}

func (d *smbRansom) Name() string { return "smb_ransom" }
func (d *smbRansom) reads() kinds { return onSMB }
func (d *smbRansom) size() int {
	return d.files.size() + d.stems.size() + d.clients.size() + d.rhythm.tab.size()
}
func (d *smbRansom) evictions() uint64 {
	return d.files.evicted + d.stems.evicted + d.clients.evicted + d.rhythm.tab.evicted
}

func (d *smbRansom) Observe(ev flow.Event) []Finding {
	e, ok := ev.(*flow.SMB)
	if !ok {
		return nil
	}
	d.out = d.out[:0]
	if e.Version == 3 {
		if f, ok := d.rhythm.observe(e); ok {
			d.out = append(d.out, f)
		}
		return d.out
	}
	if e.Path == "" || e.Response && e.Op != flow.SMBRead {
		return nil
	}
	switch e.Op {
	case flow.SMBOpen, flow.SMBRead, flow.SMBWrite, flow.SMBRename, flow.SMBDelete, flow.SMBClose:
		src, mac := d.net.client(&e.Meta, e.Client.Addr(), e.Response)
		if d.net.own(mac, e.Client.Addr()) {
			return nil
		}
		d.file(e, src, mac)
	}
	return d.out
}

// file applies one operation to what is known of the file.
func (d *smbRansom) file(e *flow.SMB, src source, mac flow.MAC) {
	p := splitPath(e.Path)
	k := fileKey{src, e.Server.Addr(), e.Tree, p.hash}
	known := d.files.peek(k) != nil
	creates := e.Op == flow.SMBOpen && e.Disposition != dispOpen && e.Disposition != dispOverwrite
	if !known && (e.Op == flow.SMBClose || e.Op == flow.SMBDelete || e.Op == flow.SMBOpen && !creates) {
		return
	}
	f := d.files.get(k)
	if !known {
		f.ending = p.ending()
		f.before = f.ending
	}
	if f.moved && e.Op != flow.SMBOpen { // the handle goes on under the old name
		if n := d.files.peek(f.by); n != nil {
			k, f = f.by, n
		}
	}
	switch e.Op {
	case flow.SMBOpen:
		f.gone, f.moved = false, false
		f.created = f.created || creates && !known
	case flow.SMBRead:
		d.read(e, k, f, p)
	case flow.SMBWrite:
		d.write(e, k, f, p, mac)
	case flow.SMBClose:
		if f.wrote && !f.created {
			d.judge(e, k, f, f, mac)
		}
	case flow.SMBDelete:
		d.remove(e, k, f, mac)
	case flow.SMBRename:
		d.rename(e, k, *f, mac)
	}
}

// CREATE dispositions that need the file to be there (MS-SMB2 2.2.13).
const (
	dispOpen      = 1
	dispOverwrite = 4
)

func (d *smbRansom) read(e *flow.SMB, k fileKey, f *sharedFile, p pathParts) {
	if e.Response {
		f.dense = f.dense || e.Offset == 0 && uniform(e.Entropy, e.Sample) > 0
		return
	}
	again := f.read
	f.read = true
	if !f.wrote {
		f.created = false // it was there, though the open would have made it
	}
	if !f.created && !again {
		for _, h := range [...]uint64{p.hash, p.stem} {
			*d.stems.get(fileKey{k.src, k.server, k.tree, h}) = p.hash
		}
	}
}

func (d *smbRansom) write(e *flow.SMB, k fileKey, f *sharedFile, p pathParts, mac flow.MAC) {
	f.wrote = true
	if e.Offset == 0 {
		f.head = uniform(e.Entropy, e.Sample)
	}
	if !f.created {
		return
	}
	c := d.clients.get(k.src)
	if e.Offset == 0 && f.head > 0 {
		c.newest, c.newestOK = k, true
	}
	if e.Offset+e.Length <= maxNote {
		c.sawNote(p)
	}
	if h := d.stems.peek(fileKey{k.src, k.server, k.tree, p.stem}); h != nil && *h != p.hash {
		if old := d.files.peek(fileKey{k.src, k.server, k.tree, *h}); old != nil {
			old.by = k
			if old.gone && !old.judged {
				d.judge(e, k, old, f, mac)
			}
		}
	}
}

// remove judges a file that was read and has a replacement.
func (d *smbRansom) remove(e *flow.SMB, k fileKey, f *sharedFile, mac flow.MAC) {
	f.gone = true
	if f.created || !f.read {
		return
	}
	if f.by == (fileKey{}) {
		// Copies may have random names: the file encrypted since, if any.
		c := d.clients.peek(k.src)
		if c == nil || !c.newestOK {
			return
		}
		f.by, c.newestOK = c.newest, false
	}
	if g := d.files.peek(f.by); g != nil && g.ending != f.ending && g.wrote {
		d.judge(e, k, f, g, mac)
	}
}

// rename moves what is known to the new name; the old one stays as a
// tombstone, since a program that saves puts its new file there.
func (d *smbRansom) rename(e *flow.SMB, k fileKey, f sharedFile, mac flow.MAC) {
	if e.NewPath == "" {
		return
	}
	p := splitPath(e.NewPath)
	to := fileKey{k.src, k.server, k.tree, p.hash}
	if old := d.files.peek(k); old != nil {
		old.gone, old.moved, old.by = true, true, to
	}
	if f.created { // a temporary file takes an old one's place
		if old := d.files.peek(to); old != nil && old.read && !old.created && f.wrote {
			g := f
			g.ending = old.ending
			d.judge(e, to, old, &g, mac)
		}
	}
	n := d.files.get(to)
	score, judged := n.score, n.judged
	*n = f
	n.ending, n.gone, n.moved = p.ending(), false, false
	if f.created {
		n.before, n.score, n.judged = n.ending, score, judged
		return
	}
	if n.wrote {
		d.judge(e, to, n, n, mac)
	}
}

// judge weighs a file whose content was replaced by that of g.
func (d *smbRansom) judge(e *flow.SMB, k fileKey, f, g *sharedFile, mac flow.MAC) {
	if !f.read && g.head <= 0 {
		return // a new version of something, or a copy: nothing was transformed
	}
	c := d.clients.get(k.src)
	if c.first.IsZero() {
		c.first = e.Time
	}
	c.count(d.weigh(f, g), f, g)
	if c.sum == 0 {
		told := c.told
		*c = rewriter{told: told, newest: c.newest, newestOK: c.newestOK, notes: c.notes}
		return
	}
	if c.servers.len() < maxPeers {
		c.servers.add(k.server)
	}
	if conf := c.confidence(); conf != "" && c.told.more(c.lost, conf) {
		d.out = append(d.out, d.finding(e, c, conf, mac))
	}
}

// weigh gives the log likelihood ratio of one replaced file.
func (d *smbRansom) weigh(f, g *sharedFile) float64 {
	w := ransomRead
	if !f.read {
		w = ransomUnread
	}
	switch {
	case plausible(f, g):
	case g.head > 0:
		w += ransomUniform
	case g.head < 0:
		w += ransomStructured
	}
	switch nameChange(f.before, g.ending) {
	case sameName:
		w += ransomSameName
	case knownName:
		w += ransomKnownName
	case oddName:
		w += ransomOddName
	}
	return w
}

// plausible says that content without structure is what the file had, or what
// its new name promises.
func plausible(f, g *sharedFile) bool {
	return f.dense || denseType[f.before] || denseType[g.ending]
}

// count replaces what the file has said before by w.
func (c *rewriter) count(w float64, f, g *sharedFile) {
	c.sum = max(0, c.sum+w-f.score)
	f.score, f.judged = w, true
	if w <= 0 {
		return
	}
	if !f.counted {
		f.counted = true
		c.lost++
		c.types = bump(c.types, f.before)
	}
	if !f.mixed && g.head > 0 && !plausible(f, g) {
		f.mixed = true
		c.uniform++
	}
	if f.named {
		return
	}
	switch {
	case toolEnding[g.ending]:
		f.named = true
		c.tool++
	case nameChange(f.before, g.ending) == oddName:
		f.named = true
		c.endings = bump(c.endings, g.ending)
	}
}

// bump counts a string in a bounded map.
func bump(m map[string]int, s string) map[string]int {
	if m == nil {
		m = make(map[string]int, 4)
	}
	if _, ok := m[s]; ok || len(m) < maxEndings {
		m[s]++
	}
	return m
}

// sawNote notices the same explaining file in one folder after the other.
func (c *rewriter) sawNote(p pathParts) {
	if c.note != "" {
		return
	}
	name := strings.ToLower(p.base[:min(len(p.base), 64)])
	if !noteName(name) {
		return
	}
	if c.notes == nil {
		c.notes = make(map[string]noteDrop, 4)
	}
	n, ok := c.notes[name]
	if !ok && len(c.notes) >= maxNotes || ok && n.folder == p.folder {
		return
	}
	if n = (noteDrop{p.folder, n.folders + 1}); n.folders >= noteFolders {
		c.note = strings.Clone(name)
		c.sum += ransomNote
	}
	c.notes[strings.Clone(name)] = n
}

// ending returns the odd new ending that most files took.
func (c *rewriter) ending() (string, int) {
	best, n := "", 0
	for e, k := range c.endings {
		if k > n || k == n && e < best {
			best, n = e, k
		}
	}
	return best, n
}

func (c *rewriter) confidence() Confidence {
	_, renamed := c.ending()
	content := c.uniform >= ransomLeast
	name := renamed >= ransomLeast
	breadth := len(c.types) >= ransomLeast
	sure := content && (name || breadth) || c.note != "" && (content || name) || breadth && renamed >= ransomFunnel
	switch {
	case c.sum >= ransomHigh && c.lost >= ransomLeastHigh && sure && 2*c.tool < c.lost:
		return High
	case c.sum >= ransomMedium && c.lost >= ransomLeast:
		return Medium
	}
	return ""
}
