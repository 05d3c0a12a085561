package detect_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sekisho/firmware/detect"
	"sekisho/firmware/flow"
)

const stopWithin = 20 // files: what the product promises

// The ways in which ransomware replaces a file (UNVEIL, section 4), each over
// a share: it must be stopped within its first twenty files.
func TestSMBRansomIsStoppedWithinTwentyFiles(t *testing.T) {
	attacks := map[string]func(s *sharer, f string, i int){
		"copies and deletes": func(s *sharer, f string, _ int) {
			s.read(f, 4096, packed)
			s.write(f+".locked", 2, 4200, cipher)
			s.remove(f)
		},
		"copies under the bare name and deletes": func(s *sharer, f string, _ int) {
			s.read(f, 4096, packed)
			s.write(stem(f)+".enc", 5, 4200, base64ed)
			s.remove(f)
		},
		"copies under random names and deletes": func(s *sharer, f string, i int) {
			s.read(f, 4096, packed)
			s.write(fmt.Sprintf(`office\project %d\%x.a7fk`, i/7, i*2654435761), 2, 4200, cipher)
			s.remove(f)
		},
		"overwrites in place, then renames": func(s *sharer, f string, _ int) {
			s.read(f, 4096, packed)
			s.write(f, 1, 4096, cipher)
			s.rename(f, f+".wncry")
		},
		"renames, then overwrites in place": func(s *sharer, f string, _ int) {
			s.rename(f, f+".lockbit")
			s.read(f+".lockbit", 4096, packed)
			s.write(f+".lockbit", 1, 4096, cipher)
		},
		"renames with the file open, then overwrites": func(s *sharer, f string, _ int) {
			s.open(f, 1)
			s.op(flow.SMB{Op: flow.SMBRename, Path: f, NewPath: f + ".lockbit"}, false)
			s.op(flow.SMB{Op: flow.SMBRead, Path: f, Length: 4096, Entropy: packed.entropy, Sample: packed.sample}, false)
			s.op(flow.SMB{Op: flow.SMBWrite, Path: f, Length: 4096, Entropy: cipher.entropy, Sample: cipher.sample}, false)
			s.close(f)
		},
		"opens or creates, overwrites, renames": func(s *sharer, f string, _ int) {
			s.open(f, 3)
			s.op(flow.SMB{Op: flow.SMBRead, Path: f, Length: 4096, Entropy: packed.entropy, Sample: packed.sample}, false)
			s.op(flow.SMB{Op: flow.SMBWrite, Path: f, Length: 4096, Entropy: cipher.entropy, Sample: cipher.sample}, false)
			s.close(f)
			s.rename(f, f+".crypt")
		},
		"writes a temporary copy, renames it, deletes": func(s *sharer, f string, _ int) { // as WannaCry does
			s.read(f, 4096, packed)
			s.write(f+".WNCRYT", 2, 4200, cipher)
			s.rename(f+".WNCRYT", f+".WNCRY")
			s.remove(f)
		},
		"overwrites in place and keeps the name": func(s *sharer, f string, _ int) {
			s.read(f, 4096, packed)
			s.write(f, 1, 4096, cipher)
		},
		"writes beside and renames over": func(s *sharer, f string, _ int) {
			s.read(f, 4096, packed)
			s.write(f+".tmp", 2, 4096, cipher)
			s.rename(f+".tmp", f)
		},
	}
	for name, attack := range attacks {
		for _, channels := range []int{1, 4} {
			t.Run(fmt.Sprintf("%s over %d channels", name, channels), func(t *testing.T) {
				o := newOffice(t, detect.Config{})
				s := newSharer(o, 1)
				s.conns, s.stop = channels, true
				before := 0
				for i, f := range papers(100) {
					attack(s, f, i)
					o.wait(time.Second)
					if o.best("smb_ransom") != "high" {
						before = i + 1
					}
				}
				o.want("smb_ransom", detect.High)
				if before >= stopWithin {
					t.Errorf("%d files were lost before the finding", before)
				}
				f := o.last("smb_ransom")
				if f.Host.IP != ip(1) || f.Technique != "T1486" || len(f.Peers) != 1 || f.Peers[0].IP != ip(10) {
					t.Errorf("finding %+v", f)
				}
			})
		}
	}
}

func TestSMBRansomCountsNotes(t *testing.T) {
	o := newOffice(t, detect.Config{})
	s := newSharer(o, 1)
	for i := range 3 {
		s.write(fmt.Sprintf(`office\project %d\HOW_TO_RECOVER.txt`, i), 2, 900, prose)
	}
	o.quiet() // a note alone encrypts nothing
	for _, f := range papers(6) {
		s.read(f, 4096, packed)
		s.write(f, 1, 4096, cipher)
	}
	if f := o.last("smb_ransom"); !strings.Contains(f.Explain.EN, "how_to_recover.txt") || f.Confidence != detect.High {
		t.Errorf("%s: %s", f.Confidence, f.Explain.EN)
	}
}

// Names alone need more files than names and content together.
func TestSMBRansomNeedsMoreFilesWhenContentIsNotMeasured(t *testing.T) {
	lost := func(head, crypted content) int {
		o := newOffice(t, detect.Config{})
		s := newSharer(o, 1)
		for i, f := range papers(stopWithin) {
			s.read(f, 4096, head)
			s.open(f+".locked", 1) // is it there already?
			s.write(f+".locked", 5, 4200, crypted)
			s.remove(f)
			if o.best("smb_ransom") == detect.High {
				return i + 1
			}
		}
		return stopWithin + 1
	}
	clear, blind, encoded := lost(packed, cipher), lost(unseen, unseen), lost(prose, packed)
	if clear >= blind || blind > stopWithin || encoded > stopWithin {
		t.Errorf("%d files with content, %d without, %d with badly encrypted content", clear, blind, encoded)
	}
}

// One type that becomes another is what converters do, however odd the ending.
func TestSMBRansomAsksAboutConvertersOfOneType(t *testing.T) {
	o := newOffice(t, detect.Config{})
	s := newSharer(o, 1)
	for i := range 100 {
		f := fmt.Sprintf(`measure\run %d.csv`, i)
		s.read(f, 1<<16, prose)
		s.write(stem(f)+".qqz", 2, 1<<14, packed)
		s.remove(f)
	}
	o.want("smb_ransom", detect.Medium)
}

// A person who encrypts a folder with a well-known tool is asked, not cut off.
func TestSMBRansomAsksAboutKnownEncryptionTools(t *testing.T) {
	o := newOffice(t, detect.Config{})
	s := newSharer(o, 1)
	for _, f := range papers(40) {
		s.read(f, 4096, packed)
		s.write(f+".gpg", 2, 4200, cipher)
		s.remove(f)
	}
	if b := o.best("smb_ransom"); b == detect.High {
		t.Errorf("a folder encrypted by gpg is high\n%s", o.dump())
	}
}

// What ordinary offices do to shares all day.
func TestSMBRansomStaysQuietForOrdinaryWork(t *testing.T) {
	work := map[string]func(s *sharer){
		"backup to one archive": func(s *sharer) {
			for i, f := range papers(200) {
				s.read(f, 1<<20, packed)
				s.op(flow.SMB{Op: flow.SMBWrite, Path: `backup\full.vbk`, Offset: uint64(i) << 20, Length: 1 << 20, Entropy: 7.99, Sample: 4096}, false)
			}
		},
		"backup that rotates": func(s *sharer) {
			for i := range 30 {
				s.write(fmt.Sprintf(`backup\day %d.vbk.tmp`, i), 2, 1<<30, cipher)
				s.rename(fmt.Sprintf(`backup\day %d.vbk.tmp`, i), fmt.Sprintf(`backup\day %d.vbk`, i))
				s.remove(fmt.Sprintf(`backup\day %d.vbk`, i-7))
			}
		},
		"zip of many files, originals deleted": func(s *sharer) {
			s.open(`office\old.zip`, 2)
			for i, f := range papers(200) {
				s.read(f, 1<<16, packed)
				s.op(flow.SMB{Op: flow.SMBWrite, Path: `office\old.zip`, Offset: uint64(i) << 16, Length: 1 << 16, Entropy: 7.95, Sample: 4096}, false)
			}
			s.close(`office\old.zip`)
			for _, f := range papers(200) {
				s.remove(f)
			}
		},
		"log rotation with gzip": func(s *sharer) {
			for i := range 60 {
				f := fmt.Sprintf(`logs\app %d.log`, i)
				s.read(f, 1<<20, prose)
				s.write(f+".gz", 2, 1<<17, cipher)
				s.remove(f)
			}
		},
		"photo import": func(s *sharer) {
			for i := range 300 {
				s.write(fmt.Sprintf(`photos\IMG_%04d.JPG`, i), 2, 8<<20, packed)
				s.write(fmt.Sprintf(`photos\IMG_%04d.HEIC`, i), 2, 3<<20, cipher)
			}
		},
		"files moved between two shares": func(s *sharer) {
			for _, f := range papers(100) {
				s.read(f, 1<<20, packed)
				s.write("archive\\"+f, 2, 1<<20, packed)
				s.remove(f)
			}
		},
		"cut and paste to the own disk": func(s *sharer) {
			for _, f := range papers(100) {
				s.read(f, 1<<20, packed)
				s.remove(f)
			}
		},
		"raw photographs converted, originals deleted": func(s *sharer) {
			for i := range 100 {
				f := fmt.Sprintf(`photos\DSC%04d.NEF`, i)
				s.read(f, 25<<20, packed)
				s.write(stem(f)+".dng", 2, 20<<20, packed)
				s.remove(f)
			}
		},
		"video transcoded, originals deleted": func(s *sharer) {
			for i := range 50 {
				f := fmt.Sprintf(`video\clip %d.avi`, i)
				s.read(f, 1<<30, packed)
				s.write(stem(f)+".mp4", 2, 1<<28, cipher)
				s.remove(f)
			}
		},
		"video editor and its cache": func(s *sharer) {
			for i := range 200 {
				s.read(fmt.Sprintf(`video\clip %d.mov`, i%5), 1<<28, packed)
				f := fmt.Sprintf(`video\cache\%d.xyzcache`, i)
				s.write(f, 2, 1<<24, cipher)
				s.read(f, 1<<24, cipher)
				s.write(f, 1, 1<<24, cipher)
				s.remove(f)
			}
		},
		"Word saves": func(s *sharer) {
			for i, f := range papers(100) {
				tmp, wrl := fmt.Sprintf(`office\~WRD%04d.tmp`, i), fmt.Sprintf(`office\~WRL%04d.tmp`, i)
				s.read(f, 1<<16, packed)
				s.write(tmp, 2, 1<<16, packed)
				s.rename(f, wrl)
				s.rename(tmp, f)
				s.remove(wrl)
			}
		},
		"Excel saves under a bare name": func(s *sharer) {
			for i := range 100 {
				f, tmp := fmt.Sprintf(`office\Book %d.xlsx`, i), fmt.Sprintf(`office\%08X`, i*2654435761)
				s.read(f, 1<<16, packed)
				s.write(tmp, 2, 1<<16, packed)
				s.rename(f, fmt.Sprintf(`office\%08X.tmp`, i))
				s.rename(tmp, f)
				s.remove(fmt.Sprintf(`office\%08X.tmp`, i))
			}
		},
		"git": func(s *sharer) {
			for i := range 200 {
				s.read(fmt.Sprintf(`src\file %d.go`, i), 4096, prose)
				obj := fmt.Sprintf(`src\.git\objects\%02x\tmp_obj_%d`, i, i)
				s.write(obj, 2, 2048, cipher)
				s.rename(obj, fmt.Sprintf(`src\.git\objects\%02x\%038x`, i, i))
				s.write(`src\.git\index.lock`, 2, 4096, packed)
				s.rename(`src\.git\index.lock`, `src\.git\index`)
			}
		},
		"git packs loose objects": func(s *sharer) {
			s.open(`src\.git\objects\pack\tmp_pack_1`, 2)
			for i := range 200 {
				s.read(fmt.Sprintf(`src\.git\objects\%02x\%038x`, i, i), 2048, cipher)
			}
			s.write(`src\.git\objects\pack\tmp_pack_1`, 2, 1<<20, cipher)
			s.rename(`src\.git\objects\pack\tmp_pack_1`, `src\.git\objects\pack\pack-1.pack`)
			for i := range 200 {
				s.remove(fmt.Sprintf(`src\.git\objects\%02x\%038x`, i, i))
			}
		},
		"compiler": func(s *sharer) {
			for i := range 200 {
				s.read(fmt.Sprintf(`src\file %d.c`, i), 4096, prose)
				s.write(fmt.Sprintf(`src\file %d.o`, i), 5, 9000, packed)
				s.read(fmt.Sprintf(`src\file %d.o`, i), 9000, packed)
				s.remove(fmt.Sprintf(`src\file %d.d`, i))
			}
		},
		"robocopy mirror": func(s *sharer) {
			for _, f := range papers(300) {
				s.write(`mirror\`+f, 5, 1<<20, packed)
			}
			for i := range 100 {
				s.remove(fmt.Sprintf(`mirror\gone %d.docx`, i))
			}
		},
		"deduplication into a chunk store": func(s *sharer) {
			for i, f := range papers(200) {
				s.read(f, 1<<20, packed)
				s.write(fmt.Sprintf(`System Volume Information\Dedup\%d.ccc`, i/20), 3, 1<<20, cipher)
				s.write(f, 1, 300, unseen)
			}
		},
		"antivirus scan with a quarantine": func(s *sharer) {
			for _, f := range papers(500) {
				s.read(f, 1<<16, packed)
			}
			for i := range 5 {
				s.rename(fmt.Sprintf(`office\bad %d.exe`, i), fmt.Sprintf(`office\bad %d.exe.vir`, i))
			}
		},
		"search and replace in text": func(s *sharer) {
			for i := range 200 {
				f := fmt.Sprintf(`web\page %d.html`, i)
				s.read(f, 4096, prose)
				s.write(f, 5, 4100, prose)
			}
		},
		"tags of music and photographs": func(s *sharer) {
			for i := range 200 {
				for _, f := range []string{fmt.Sprintf(`music\%d.mp3`, i), fmt.Sprintf(`photos\%d.jpg`, i)} {
					s.read(f, 4<<20, packed)
					s.write(f, 1, 4<<20, packed)
				}
			}
		},
		"an encrypted vault is edited": func(s *sharer) {
			for i := range 200 {
				f := fmt.Sprintf(`vault\d\%02x\%d.c9r`, i, i)
				s.read(f, 1<<16, cipher)
				s.write(f, 5, 1<<16, cipher)
			}
		},
		"files renamed for good order": func(s *sharer) {
			for i, f := range papers(200) {
				s.rename(f, fmt.Sprintf(`office\2026-%03d.done`, i))
			}
		},
		"readme in every folder": func(s *sharer) {
			for i := range 50 {
				s.write(fmt.Sprintf(`src\pkg %d\README.txt`, i), 2, 900, prose)
			}
		},
	}
	for name, f := range work {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			f(newSharer(o, 1))
			o.quiet()
		})
	}
}

// A day of saves does not add up, and does not shelter the infection after it.
func TestSMBRansomStartsFromOrdinaryWork(t *testing.T) {
	o := newOffice(t, detect.Config{})
	s := newSharer(o, 1)
	for range 20 {
		for _, f := range papers(100) {
			s.read(f, 1<<16, packed)
			s.write(f, 5, 1<<16, packed)
		}
	}
	o.quiet()
	s.touched = map[string]bool{}
	s.stop = true
	for _, f := range papers(100) {
		s.read(f, 4096, packed)
		s.write(f, 1, 4096, cipher)
		s.rename(f, f+".crypt")
	}
	o.want("smb_ransom", detect.High)
	if len(s.touched) > stopWithin {
		t.Errorf("%d files were touched", len(s.touched))
	}
}

// Two devices that share the work of one do not add up; each is one device.
func TestSMBRansomNamesTheDevice(t *testing.T) {
	o := newOffice(t, detect.Config{})
	a, b := newSharer(o, 1), newSharer(o, 2)
	for i, f := range papers(20) {
		a.read(f, 4096, packed)
		a.write(f, 1, 4096, packed)
		if i < 15 {
			g := "b" + f
			b.read(g, 4096, packed)
			b.write(g+".x9x", 2, 4096, cipher)
			b.remove(g)
		}
	}
	for _, f := range o.found {
		if f.Host.IP != ip(2) {
			t.Errorf("%s is accused", f.Host.IP)
		}
	}
	o.want("smb_ransom", detect.High)
}

// encrypted plays one file of an SMB3 session of which only sizes are seen.
func (s *sharer) encrypted(read, wrote int) {
	say := func(size int, response bool) {
		s.op(flow.SMB{Version: 3, Size: size}, response)
	}
	exchange := func() { say(300, false); say(250, true) }
	exchange()
	for n := read; n > 0; n -= 60000 {
		say(200, false)
		say(min(n, 60000)+128, true)
	}
	exchange()
	for n := wrote; n > 0; n -= 60000 {
		say(min(n, 60000)+160, false)
		say(120, true)
	}
	exchange()
	exchange()
}

func TestSMBRansomHearsTheRhythmOfEncryptedSessions(t *testing.T) {
	o := newOffice(t, detect.Config{})
	s := newSharer(o, 1)
	s.conns = 4
	n := 0
	for i := range 40 {
		s.encrypted(5000+i*7919%90000, 5300+i*7919%90000)
		if len(o.found) == 0 {
			n++
		}
		o.wait(500 * time.Millisecond)
	}
	o.want("smb_ransom", detect.Medium) // never more: content and names are not seen
	if n >= stopWithin {
		t.Errorf("%d files before the finding", n)
	}
}

func TestSMBRansomHearsNoRhythmInOrdinarySessions(t *testing.T) {
	sessions := map[string]func(s *sharer){
		"reading":                  func(s *sharer) { s.encrypted(300000, 0) },
		"backup":                   func(s *sharer) { s.encrypted(0, 5000000) },
		"browsing and small saves": func(s *sharer) { s.encrypted(90000, 3000) },
		"one large file rewritten in pieces": func(s *sharer) {
			s.op(flow.SMB{Version: 3, Size: 61000}, true)
			s.op(flow.SMB{Version: 3, Size: 61000}, false)
		},
		"a person saves a document each five minutes": func(s *sharer) {
			s.encrypted(40000+s.n, 41000+s.n)
			s.wait(5 * time.Minute)
		},
	}
	for name, f := range sessions {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, detect.Config{})
			s := newSharer(o, 1)
			for range 60 {
				f(s)
			}
			o.quiet()
		})
	}
}
