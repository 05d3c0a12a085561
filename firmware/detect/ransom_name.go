package detect

import (
	"math"
	"strings"
)

// pathParts is what is kept of a path: hashes, and the two parts that a
// finding names. The parts belong to the event.
type pathParts struct {
	hash   uint64 // of the whole path
	stem   uint64 // of the path without its last ending
	folder uint64
	base   string
	end    string // without the dot
}

// ending returns a copy in lower case; what is longer than any ending is cut.
func (p *pathParts) ending() string {
	return strings.Clone(strings.ToLower(p.end[:min(len(p.end), 32)]))
}

// splitPath reads a path as SMB sends it. A stream name ("file:stream", MS-FSCC
// 2.1.5) belongs to its file. Windows names are not case sensitive; folding
// ASCII is enough, as a program spells a name one way.
func splitPath(s string) pathParts {
	if i := strings.IndexByte(s, ':'); i > 0 {
		s = s[:i]
	}
	cut := strings.LastIndexAny(s, `\/`)
	p := pathParts{base: s[cut+1:]}
	end := len(s)
	if dot := strings.LastIndexByte(p.base, '.'); dot > 0 {
		p.end = p.base[dot+1:]
		end = cut + 1 + dot
	}
	h := uint64(14695981039346656037) // FNV-1a
	for i := 0; i < len(s); i++ {
		if i == cut {
			p.folder = h
		}
		if i == end {
			p.stem = h
		}
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		h = (h ^ uint64(c)) * 1099511628211
	}
	p.hash = h
	if end == len(s) {
		p.stem = h
	}
	return p
}

// uniform says whether data of which n bytes had this entropy came from a
// uniform source over all bytes or over the 64 letters of base64: 1 yes, -1
// no, 0 too little was measured. Miller's bias holds from a few bytes for each
// symbol on; the tolerance leaves room for a short head before the cipher text
// (many families write a mark and a wrapped key) and is many times the
// deviation, which is sqrt((k-1)/2)/n nats.
func uniform(entropy float64, n int) int8 {
	if n < 1024 || entropy < 0 {
		return 0
	}
	bytes := 8 - 255/(2*float64(n)*math.Ln2)
	letters := 6 - 63/(2*float64(n)*math.Ln2)
	if entropy >= bytes-0.1 || math.Abs(entropy-letters) <= 0.05 {
		return 1
	}
	return -1
}

type renaming uint8

const (
	sameName renaming = iota
	knownName
	oddName
)

// nameChange says what became of a file's ending. Temporary endings are the
// way of programs that save: no change of name.
func nameChange(before, after string) renaming {
	switch {
	case before == after || temporary(after) || temporary(before):
		return sameName
	case after == "" || commonEnding[after] || toolEnding[after] || denseType[after]:
		return knownName
	}
	return oddName
}

func temporary(ending string) bool {
	switch ending {
	case "tmp", "temp", "bak", "old", "orig", "new", "part", "partial", "filepart", "crdownload", "download", "swp", "lock",
		"lck", "wbk", "~", "save", "backup", "gstmp", "sb":
		return true
	}
	return strings.HasPrefix(ending, "sb-") || strings.HasSuffix(ending, "~") // Word on macOS
}

// noteName recognises the words by which ransom notes want to be found.
// "readme" alone is what source code has in every folder.
func noteName(base string) bool {
	for _, w := range [...]string{"decrypt", "recover", "restore", "ransom", "unlock", "encrypted", "how_to", "how-to", "how to",
		"howto", "your_files", "your files", "files_back", "back_files", "!!!"} {
		if strings.Contains(base, w) {
			return true
		}
	}
	return false
}

func endings(s string) map[string]bool {
	m := make(map[string]bool)
	for _, e := range strings.Fields(s) {
		m[e] = true
	}
	return m
}

// commonEnding holds the endings of programs that offices use; what is not
// here is odd. A missing one costs a little confidence for one program's
// files only.
var commonEnding = endings(`doc docx docm dot dotx rtf odt ott wpd wps pages xls xlsx xlsm xlsb xlt xltx csv tsv ods numbers ppt pptx
	pptm pps ppsx odp key pdf ps eps xps oxps txt text md rst log ini cfg conf json xml yaml yml toml html htm mht mhtml xhtml css js ts
	jsx tsx php asp aspx jsp py pyc java class c h cc cpp hpp cs vb vbs bat cmd ps1 sh pl rb go rs swift kt lua sql r m ipynb o obj a lib
	so dylib exe dll sys msi msp cab drv ocx jpg jpeg jpe jfif png gif bmp tif tiff webp svg ico psd ai indd xd sketch cdr raw cr2 cr3
	nef arw dng orf raf rw2 xmp wav mp2 aac wma aiff flac mid avi wmv mpg mpeg mov m2ts mts vob srt prproj aep drp veg fcpbundle dwg dxf
	dwf rvt rfa skp stl step stp iges 3ds blend max jww jwc sfc p21 mdb accdb laccdb dbf db sqlite sqlite3 mdf ldf ndf frm ibd fdb gdb
	fp7 fmp12 pst ost eml msg mbox nsf vcf ics one onetoc2 pub vsd vsdx mpp lnk url torrent iso img vhd vhdx vmdk vdi ova qcow2 bin dat
	idx pack rev hdr ttf otf woff woff2 eot epub azw3 chm hlp jtd jtt jtdc jbw xdw xbd qbw qbb qbo ofx tax mpt sav spo gz`)

// denseType holds types whose content looks uniform from nearly the first byte.
var denseType = endings(`7z zip rar gz tgz bz2 xz zst lz4 lzma z cab jar apk mp3 mp4 m4a m4v mkv webm ogg opus heic heif avif kdbx
	hc tc vc luks pfx p12 p7m p7e vbk vib vrb tib tibx mrimg bkf gho pbd afi sparsebundle qic wim esd swm dmg c9r c9s`)

// toolEnding holds what programs add that people use to encrypt their own files.
var toolEnding = endings(`gpg pgp asc age aes axx axxx kdbx p7m p7e c9r c9s cpt ccrypt crypt12 crypt14 crypt15 pfile ptxt ppdf pjpg bc bcx
	nxl rpmsg sig enx atc fcl`)
