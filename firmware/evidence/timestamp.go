package evidence

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sekisho/firmware/ledger"
)

// TimestampState says whether an authority vouches for when a bundle was sealed.
// The device signs it, so that a time-stamp can neither be taken away nor added.
type TimestampState string

const (
	NoTimestamp     TimestampState = "" // no authority is set
	Timestamped     TimestampState = timestampFile
	TimestampFailed TimestampState = "failed" // the authority did not answer, or wrongly
)

// Timestamp is what a time-stamping authority says about a bundle.
type Timestamp struct {
	Time      time.Time `json:"time"`
	Authority string    `json:"authority"` // the name in its certificate
	Trusted   bool      `json:"trusted"`   // it is one of those that were asked for
}

const (
	timestampWait  = 15 * time.Second // a seal never waits longer for an authority
	timestampLimit = 256 << 10        // bytes; real answers have less than 10 KiB
	stampHeader    = "sekisho.timestamp/v1"
)

// timestampQuery is a TimeStampReq, RFC 3161, section 2.4.1.
type timestampQuery struct {
	Version int
	Imprint messageImprint
	Nonce   *big.Int
	Certs   bool
}

// timestampReply is a TimeStampResp, section 2.4.2.
type timestampReply struct {
	Status struct {
		Status   int
		Text     []string       `asn1:"optional"`
		Failures asn1.BitString `asn1:"optional"`
	}
	Token asn1.RawValue `asn1:"optional"`
}

// sign writes signature.note, and signature.tsr when an authority is set and
// answers. What the device signs says which: after a failure it signs again.
func (v *Vault) sign(ctx context.Context, bag *bag, meta *seal) error {
	key := v.c.Ledger.Key()
	if v.c.TimestampURL != "" {
		meta.Timestamp = Timestamped
	}
	signed, err := key.Sign(meta.text())
	if err != nil {
		return err
	}
	if meta.Timestamp == NoTimestamp {
		return bag.addBytes(signatureFile, signed)
	}
	stored, t, err := v.timestamp(ctx, signed)
	if canceled := ctx.Err(); canceled != nil {
		return canceled
	}
	if err := v.recordTimestamp(meta.ID, t, err); err != nil {
		return err
	}
	if err == nil {
		return errors.Join(bag.addBytes(signatureFile, signed), bag.addBytes(timestampFile, stored))
	}
	meta.Timestamp = TimestampFailed
	if signed, err = key.Sign(meta.text()); err != nil {
		return err
	}
	return bag.addBytes(signatureFile, signed)
}

func (v *Vault) recordTimestamp(id string, t token, failure error) error {
	detail := map[string]any{"ok": failure == nil}
	if failure != nil {
		v.c.Logger.Warn("bundle is sealed without a time-stamp", "bundle", id, "error", failure)
		detail["error"] = fmt.Sprintf("%.500s", failure)
	} else {
		detail["authority"], detail["time"] = t.signer.Subject.String(), stamp(t.info.Time)
	}
	_, err := v.c.Ledger.Append(ledger.Entry{Time: v.c.Now().UTC(), Actor: "gateway", Action: "bundle.timestamp", Subject: id, Detail: detail})
	return err
}

// timestamp asks the authority about the signature and returns what
// signature.tsr holds: a reply that openssl ts -verify takes, whose status text
// is a note by the device over the token's hash. Not everything in a token is
// signed by its authority (other certificates are not); by the device it is.
func (v *Vault) timestamp(ctx context.Context, signed []byte) ([]byte, token, error) {
	ctx, cancel := context.WithTimeout(ctx, timestampWait)
	defer cancel()
	nonce, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, token{}, err
	}
	sum := sha256.Sum256(signed)
	query, err := asn1.Marshal(timestampQuery{Version: 1, Nonce: nonce, Certs: true,
		Imprint: messageImprint{pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: asn1.NullRawValue}, sum[:]}})
	if err != nil {
		return nil, token{}, err
	}
	answer, err := v.post(ctx, query)
	if err != nil {
		return nil, token{}, err
	}
	var reply timestampReply
	if err := exactly(answer, &reply); err != nil {
		return nil, token{}, errors.New("the answer is not a time-stamp reply")
	}
	if s := reply.Status; s.Status != 0 && s.Status != 1 { // granted, granted with changes
		return nil, token{}, fmt.Errorf("refused with status %d: %.200q", s.Status, s.Text)
	}
	t, err := openToken(reply.Token.FullBytes)
	if err != nil {
		return nil, token{}, err
	}
	if err := t.covers(signed); err != nil {
		return nil, token{}, err
	}
	if t.info.Nonce == nil || t.info.Nonce.Cmp(nonce) != 0 {
		return nil, token{}, errors.New("the answer is to another question")
	}
	vouched, err := v.c.Ledger.Key().Sign(stampText(reply.Token.FullBytes))
	if err != nil {
		return nil, token{}, err
	}
	stored, err := storedReply(string(vouched), reply.Token)
	return stored, t, err
}

func (v *Vault) post(ctx context.Context, query []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.c.TimestampURL, bytes.NewReader(query))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/timestamp-query")
	res, err := v.c.TimestampClient.Do(req)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err // the address may hold an account
		}
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the authority answers %s", res.Status)
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, timestampLimit+1))
	if err == nil && len(answer) > timestampLimit {
		err = fmt.Errorf("the answer is longer than %d bytes", timestampLimit)
	}
	return answer, err
}

func (t *token) covers(signed []byte) error {
	hash, err := hashOf(t.info.Imprint.Algorithm)
	if err != nil {
		return err
	}
	if !bytes.Equal(t.info.Imprint.Hash, sumOf(hash, signed)) {
		return errors.New("the time-stamp is about something else")
	}
	return nil
}

func stampText(token []byte) string {
	return fmt.Sprintf("%s\ntoken-sha256 %s\n", stampHeader, hexSum(token))
}

func storedReply(vouched string, token asn1.RawValue) ([]byte, error) {
	var r timestampReply
	r.Status.Text = []string{vouched}
	r.Token = token
	return asn1.Marshal(r)
}

// openTimestamp checks signature.tsr against the signature that it is about,
// and that the device of key took it.
func openTimestamp(data, signed []byte, key note.Verifier) (token, error) {
	var r timestampReply
	if len(data) > 2*timestampLimit {
		return token{}, fmt.Errorf("longer than %d bytes", 2*timestampLimit)
	}
	if err := exactly(data, &r); err != nil || len(r.Status.Text) != 1 {
		return token{}, errors.New("not a time-stamp of a bundle")
	}
	if again, err := storedReply(r.Status.Text[0], r.Token); err != nil || !bytes.Equal(again, data) {
		return token{}, errors.New("not in canonical form")
	}
	text, err := ledger.OpenNote([]byte(r.Status.Text[0]), key)
	if err != nil || text != stampText(r.Token.FullBytes) {
		return token{}, errors.New("it is not the one that the device got")
	}
	t, err := openToken(r.Token.FullBytes)
	if err != nil {
		return token{}, err
	}
	return t, t.covers(signed)
}
