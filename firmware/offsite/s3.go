package offsite

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	onePut         = 64 << 20 // bytes: up to here in one request, which is atomic
	partBytes      = 16 << 20 // of a larger one; one part is held in memory
	mostParts      = 9000     // S3 takes 10,000
	lockSlack      = 24 * time.Hour
	s3Tries        = 3 // of one request, inside one Put
	checksumHeader = "X-Amz-Checksum-Sha256"
	lockMode       = "X-Amz-Object-Lock-Mode"
	lockUntil      = "X-Amz-Object-Lock-Retain-Until-Date"
	secretBytes    = 4 << 10
)

// S3Config says which bucket. Region, Prefix and CAFile may be empty.
type S3Config struct {
	Endpoint    string // https://host[:port]; http only to this machine
	Region      string
	Bucket      string // made with object lock
	Prefix      string // folder in the bucket: "office-a"
	Credentials string // file, mode 0600: aws_access_key_id = …, aws_secret_access_key = …
	CAFile      string // PEM, for a server with a certificate of the office's own
	Days        int    // locked for so long, at least 1
	Governance  bool   // lock that an administrator of the storage may lift; otherwise nobody
	Line        *Line
	Now         func() time.Time // default time.Now
}

// S3 copies to S3-compatible storage and locks every object there.
type S3 struct {
	c      S3Config
	client *minio.Client
	mode   minio.RetentionMode
	one    int64 // onePut, partBytes; less in tests
	part   int64
}

var _ Target = (*S3)(nil)

// NewS3 checks the settings and reads the credentials; it does not connect.
func NewS3(c S3Config) (*S3, error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, fmt.Errorf("s3 target: endpoint %q: write https://host", c.Endpoint)
	}
	if c.Bucket == "" || c.Days < 1 || c.Line == nil {
		return nil, errors.New("s3 target: bucket, days of the lock and line are needed")
	}
	id, secret, err := readSecret(c.Credentials)
	if err != nil {
		return nil, fmt.Errorf("s3 target: %w", err)
	}
	transport, err := s3Transport(c)
	if err != nil {
		return nil, fmt.Errorf("s3 target: %w", err)
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds: credentials.NewStaticV4(id, secret, ""), Secure: u.Scheme == "https", Region: c.Region,
		Transport: transport, TrailingHeaders: true, MaxRetries: s3Tries})
	if err != nil {
		return nil, fmt.Errorf("s3 target: %w", err)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &S3{c: c, client: client, mode: minio.Compliance, one: onePut, part: partBytes}
	if c.Governance {
		s.mode = minio.Governance
	}
	return s, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() || host == "localhost"
}

func s3Transport(c S3Config) (http.RoundTripper, error) {
	t := &http.Transport{DialContext: c.Line.Dial, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 30 * time.Second, ResponseHeaderTimeout: stalled, MaxResponseHeaderBytes: 64 << 10,
		MaxConnsPerHost: 4, IdleConnTimeout: time.Minute, DisableCompression: true}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in it", c.CAFile)
		}
	}
	return onlyNew{t}, nil
}

// onlyNew asks that the request that completes an upload in parts fails when the
// name is taken meanwhile: minio-go drops the condition there.
type onlyNew struct{ next http.RoundTripper }

func (n onlyNew) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost && r.URL.Query().Has("uploadId") {
		r = r.Clone(r.Context())
		r.Header.Set("If-None-Match", "*")
	}
	return n.next.RoundTrip(r)
}

// readSecret reads the two lines that the tools of AWS use too. Others of the
// machine must not be able to read them.
func readSecret(file string) (id, secret string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", "", err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", "", fmt.Errorf("%s can be read by others: chmod 600 it", file)
	}
	data, err := io.ReadAll(io.LimitReader(f, secretBytes))
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(line, "=")
		switch strings.TrimSpace(key) {
		case "aws_access_key_id":
			id = strings.TrimSpace(value)
		case "aws_secret_access_key":
			secret = strings.TrimSpace(value)
		}
	}
	if id == "" || secret == "" {
		return "", "", fmt.Errorf("%s: write aws_access_key_id = … and aws_secret_access_key = …", file)
	}
	return id, secret, nil
}

// Place implements Target. The bucket is asked when something is put there.
func (s *S3) Place(context.Context) (string, error) {
	return s.c.Endpoint + "/" + path.Join(s.c.Bucket, s.c.Prefix), nil
}

// Put implements Target. The lock counts from now; what stands there already
// with less than that is locked for longer.
func (s *S3) Put(ctx context.Context, o Object) (Copy, error) {
	if err := checkName(o.Name); err != nil {
		return Copy{}, err
	}
	key := path.Join(s.c.Prefix, o.Name)
	want := s.c.Now().UTC().AddDate(0, 0, s.c.Days)
	info, err := s.stat(ctx, key)
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		if err := s.upload(ctx, key, o, want); err != nil {
			return Copy{}, asS3(err)
		}
		info, err = s.stat(ctx, key)
	}
	if err != nil {
		return Copy{}, asS3(err)
	}
	switch same, err := s.same(ctx, info, o); {
	case err != nil:
		return Copy{}, asS3(err)
	case !same:
		return Copy{}, fmt.Errorf("%s: %w", key, ErrConflict)
	}
	until, err := s.lock(ctx, info, want)
	if err != nil {
		return Copy{}, asS3(err)
	}
	return Copy{Name: key, Size: o.Size, SHA256: o.hex(), Version: info.VersionID, ETag: info.ETag, Until: until}, nil
}

func (s *S3) stat(ctx context.Context, key string) (minio.ObjectInfo, error) {
	return s.client.StatObject(ctx, s.c.Bucket, key, minio.StatObjectOptions{Checksum: true})
}

// upload sends o with its lock. The server checks SHA-256 of what arrives; the
// condition keeps it from making a second version of a name.
func (s *S3) upload(ctx context.Context, key string, o Object, until time.Time) error {
	from, err := o.reader(ctx, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	part := s.partSize(o.Size)
	opts := minio.PutObjectOptions{Mode: s.mode, RetainUntilDate: until, PartSize: uint64(part), ContentType: "application/octet-stream"}
	if o.Size > part {
		opts.Checksum = minio.ChecksumSHA256 // of each part
		// Parts that a crash has left cost money. Where we may not remove them, the
		// bucket's own rule has to.
		_ = s.client.RemoveIncompleteUpload(ctx, s.c.Bucket, key)
	} else {
		opts.UserMetadata = map[string]string{checksumHeader: base64.StdEncoding.EncodeToString(o.SHA256[:])}
	}
	opts.SetMatchETagExcept("*")
	_, err = s.client.PutObject(ctx, s.c.Bucket, key, from, o.Size, opts)
	if minio.ToErrorResponse(err).Code == minio.PreconditionFailed {
		return nil // an upload from before a crash came in meanwhile: the caller compares it
	}
	return err
}

// partSize returns the size of the parts of an object; the whole object up to s.one.
func (s *S3) partSize(size int64) int64 {
	if size <= s.one {
		return max(s.one, s.part)
	}
	least := (size + mostParts - 1) / mostParts
	return max(s.part, (least+1<<20-1)/(1<<20)*(1<<20))
}

// same compares what the server holds: by the checksum that it made, or, when it
// has none of the kind that we send, by reading all of it back.
func (s *S3) same(ctx context.Context, info minio.ObjectInfo, o Object) (bool, error) {
	if info.Size != o.Size {
		return false, nil
	}
	if info.ChecksumSHA256 != "" {
		want, err := s.checksum(ctx, o)
		if err != nil || want == info.ChecksumSHA256 {
			return err == nil, err
		}
	}
	opts := minio.GetObjectOptions{}
	if info.VersionID != "" {
		opts.VersionID = info.VersionID
	}
	body, err := s.client.GetObject(ctx, s.c.Bucket, info.Key, opts)
	if err != nil {
		return false, err
	}
	defer body.Close()
	return o.same(ctx, body)
}

// checksum is what S3 says of o: its SHA-256, or, when it came in parts, the
// SHA-256 of theirs and their number.
func (s *S3) checksum(ctx context.Context, o Object) (string, error) {
	part := s.partSize(o.Size)
	if o.Size <= part {
		return base64.StdEncoding.EncodeToString(o.SHA256[:]), nil
	}
	o.Progress = nil
	from, err := o.reader(ctx, 0)
	if err != nil {
		return "", err
	}
	defer from.Close()
	all, parts := sha256.New(), 0
	for left := o.Size; left > 0; parts++ {
		one := sha256.New()
		n, err := io.CopyN(one, from, min(part, left))
		if err != nil {
			return "", err
		}
		_, _ = all.Write(one.Sum(nil))
		left -= n
	}
	return fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(all.Sum(nil)), parts), nil
}

// lock returns until when the server refuses to delete the version. One that
// stood there without a lock, or with too little, is locked now; what the server
// then says counts, because one without object lock may ignore what it is asked.
func (s *S3) lock(ctx context.Context, info minio.ObjectInfo, want time.Time) (time.Time, error) {
	if until, enough := s.locked(info, want); enough {
		return until, nil
	}
	err := s.client.PutObjectRetention(ctx, s.c.Bucket, info.Key,
		minio.PutObjectRetentionOptions{Mode: &s.mode, RetainUntilDate: &want, VersionID: info.VersionID})
	if err != nil {
		return time.Time{}, fmt.Errorf("lock %s: %w", info.Key, err)
	}
	if info, err = s.stat(ctx, info.Key); err != nil {
		return time.Time{}, fmt.Errorf("lock %s: %w", info.Key, err)
	}
	until, enough := s.locked(info, want)
	if !enough {
		return time.Time{}, fmt.Errorf("lock %s: %w: the server says %s until %s", info.Key, ErrNoLock, info.Metadata.Get(lockMode), until)
	}
	return until, nil
}

// locked reads the lock from the server's answer. A day less is enough: an
// upload of before a restart.
func (s *S3) locked(info minio.ObjectInfo, want time.Time) (until time.Time, enough bool) {
	until, err := time.Parse(time.RFC3339, info.Metadata.Get(lockUntil))
	return until, err == nil && info.Metadata.Get(lockMode) != "" && !until.Before(want.Add(-lockSlack))
}

// asS3 names what a server says.
func asS3(err error) error {
	var said minio.ErrorResponse
	_ = errors.As(err, &said)
	var network net.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, ErrSource), errors.Is(err, ErrNoLock):
		return err
	case strings.HasPrefix(said.Code, "InvalidRequest") && strings.Contains(said.Message, "ObjectLock"),
		strings.HasPrefix(said.Code, "InvalidRequest") && strings.Contains(said.Message, "Object Lock"),
		said.Code == "ObjectLockConfigurationNotFoundError", said.Code == "InvalidBucketObjectLockConfiguration":
		return fmt.Errorf("%w: %w", ErrNoLock, err)
	case said.Code == minio.AccessDenied, said.Code == "SignatureDoesNotMatch", said.Code == "InvalidAccessKeyId":
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case said.Code == "QuotaExceeded", said.Code == "XMinioStorageFull":
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.As(err, &certificate):
		return fmt.Errorf("%w: %w", ErrIdentity, err)
	case errors.As(err, &network):
		return fmt.Errorf("%w: %w", ErrNoAddress, err)
	}
	return err
}
