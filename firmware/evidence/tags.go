package evidence

import (
	"bytes"
	"encoding/json"

	"sekisho/firmware/ledger"
)

// tags writes everything beside data/. The ledger entry holds the hash of the
// payload manifest, the signature holds the hash of the tag manifest, which
// covers the ledger extract: each link is fixed before the next is made.
func (v *Vault) tags(bag *bag, meta *seal, in BundleInput) error {
	manifest := bag.manifest("data/")
	if err := bag.addBytes("manifest-sha256.txt", manifest); err != nil {
		return err
	}
	if err := bag.addBytes("bagit.txt", []byte(bagitText)); err != nil {
		return err
	}
	if err := bag.addBytes("bag-info.txt", bag.info(*meta, v.c.Software, in.Drill)); err != nil {
		return err
	}
	detail := map[string]any{"incident": meta.Incident, "manifest_sha256": hexSum(manifest), "packets": meta.Packets}
	if in.Drill {
		detail["drill"] = true
	}
	index, err := v.c.Ledger.Append(ledger.Entry{Time: meta.Sealed, Actor: "gateway", Action: "bundle.seal", Subject: meta.ID, Detail: detail})
	if err != nil {
		return err
	}
	meta.Entry = index
	if err := v.step("ledger"); err != nil {
		return err
	}
	extract, checkpoint, err := ledgerExtract(v.c.Ledger, in.LedgerFrom, index)
	if err != nil {
		return err
	}
	if err := bag.addBytes(ledgerFile, extract); err != nil {
		return err
	}
	if err := bag.addBytes(checkpointFile, checkpoint); err != nil {
		return err
	}
	tagManifest := bag.tagManifest()
	if err := bag.addBytes(tagManifestFile, tagManifest); err != nil {
		return err
	}
	meta.TagManifest = hexSum(tagManifest)
	return nil
}

// maxExtract is how many entries an extract has at most, about 10 MiB: a ledger
// that has grown for years must not make its bundles too large to be verified.
const maxExtract = 8192

// extractFrom is the first entry of an extract that should begin at from.
func extractFrom(from, to int64) int64 { return max(0, to+1-maxExtract, min(from, to)) }

// ledgerExtract writes one line an entry: index, inclusion proof, and the
// record as it was hashed.
func ledgerExtract(l *ledger.Ledger, from, to int64) (extract, checkpoint []byte, err error) {
	checkpoint, err = l.Checkpoint()
	if err != nil {
		return nil, nil, err
	}
	c, err := ledger.ParseCheckpoint(checkpoint, l.Key().Verifier())
	if err != nil {
		return nil, nil, err
	}
	from = extractFrom(from, to)
	lines, err := l.Lines(from, to+1)
	if err != nil {
		return nil, nil, err
	}
	var b bytes.Buffer
	for i, line := range lines {
		index := from + int64(i)
		proof, err := l.Prove(index, c.Size)
		if err != nil {
			return nil, nil, err
		}
		if err := json.NewEncoder(&b).Encode(provenEntry{Index: index, Proof: proof, Record: string(line)}); err != nil {
			return nil, nil, err
		}
	}
	return b.Bytes(), checkpoint, nil
}
