// Package wire is what the gateway and the vendor's tool say to each other:
// paths and JSON bodies of the evidence API, version 1.
//
// firmware/remote serves it, firmware/remote/client asks. It holds no
// behaviour, so that both sides, and whoever writes a third, read the same page;
// openapi.json says the same for tools.
package wire

import "time"

// Paths of the API. {id} is an incident's or a grant's id.
const (
	PathEnroll      = "/v1/enroll"                // POST EnrollRequest -> EnrollReply
	PathStatus      = "/v1/status"                // GET -> Status
	PathIncidents   = "/v1/incidents"             // GET -> Incidents
	PathBundle      = "/v1/incidents/{id}/bundle" // GET, Range, ETag: "SHA-256 in hex"
	PathGrants      = "/v1/grants"                // POST GrantRequest -> Grant
	PathGrant       = "/v1/grants/{id}"           // GET [?wait=30s] -> Grant; DELETE ends it
	PathCheckpoint  = "/v1/checkpoint"            // GET -> signed note, text/plain
	PathConsistency = "/v1/consistency"           // GET ?from=N&to=M -> Consistency
	PathOpenAPI     = "/v1/openapi.json"          // GET
)

// EnrollRequest is sent once, over TLS with the client certificate that is to be
// pinned.
type EnrollRequest struct {
	Secret string `json:"secret"` // of the invitation
	Name   string `json:"name"`   // how the vendor is called on panel and page
}

// EnrollReply is shown once and never again: the gateway keeps no recovery code
// in the clear.
type EnrollReply struct {
	Vendor        string   `json:"vendor"`         // id of this enrolment
	OTPAuth       string   `json:"otpauth"`        // otpauth://totp/… for an authenticator (RFC 6238)
	RecoveryCodes []string `json:"recovery_codes"` // each works once in place of a TOTP code
	DeviceKey     string   `json:"device_key"`     // verifier key of bundles and checkpoints (C2SP)
	Checkpoint    string   `json:"checkpoint"`     // signed; the first that the vendor keeps
	Office        string   `json:"office"`
}

// Status says who answers.
type Status struct {
	Office  string    `json:"office"`
	Version string    `json:"version"`
	Now     time.Time `json:"now"`
	Vendor  string    `json:"vendor"` // as whom the caller is known
}

// Incidents is the list, newest first.
type Incidents struct {
	Incidents []Incident `json:"incidents"`
}

// Incident is as much as may be known without a grant: no names, no addresses.
type Incident struct {
	ID      string    `json:"id"`
	State   string    `json:"state"`
	Drill   bool      `json:"drill,omitempty"`
	Opened  time.Time `json:"opened"`
	Updated time.Time `json:"updated"`
	Bundle  *Package  `json:"bundle,omitempty"` // nil: not sealed yet
	Grant   *Grant    `json:"grant,omitempty"`  // the caller's newest for it
}

// Package is a sealed bundle as one file.
type Package struct {
	Name      string    `json:"name"` // of the file: ID.tar or ID.tar.age
	Size      int64     `json:"size"`
	SHA256    string    `json:"sha256"` // hex; also the ETag
	Encrypted bool      `json:"encrypted"`
	Sealed    time.Time `json:"sealed"`
}

// GrantRequest asks for access to one incident's evidence.
type GrantRequest struct {
	Incident string `json:"incident"`
	Reason   string `json:"reason"`  // for the owner, at most 200 characters
	Code     string `json:"code"`    // TOTP or recovery code of the person who asks
	Minutes  int    `json:"minutes"` // wished; the gateway may grant less
}

// GrantState is where a grant stands.
type GrantState string

// A grant's life. Only active opens anything.
const (
	GrantWaiting GrantState = "waiting" // for the owner
	GrantActive  GrantState = "active"
	GrantDenied  GrantState = "denied"
	GrantEnded   GrantState = "ended" // by the owner, the vendor or a press
	GrantExpired GrantState = "expired"
)

// Grant is one access, asked for or granted.
type Grant struct {
	ID       string     `json:"id"`
	Incident string     `json:"incident"`
	State    GrantState `json:"state"`
	Asked    time.Time  `json:"asked"`
	Until    time.Time  `json:"until"` // waiting: when the question lapses; active: when access ends
}

// Consistency proves that the ledger of To entries only adds to that of From.
type Consistency struct {
	From  int64    `json:"from"`
	To    int64    `json:"to"`
	Proof []string `json:"proof"` // hashes, base64 (RFC 6962, section 2.1.2)
}

// Error is the body of every answer that is not 2xx.
type Error struct {
	Error ErrorDetail `json:"error"`
}

// ErrorDetail names what went wrong. Codes are for programs, messages for people.
type ErrorDetail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Retry   int    `json:"retry_after_seconds,omitempty"` // also in Retry-After
}

// Codes of ErrorDetail.
const (
	CodeBad         = "bad_request"
	CodeUnknown     = "not_found"
	CodeNotEnrolled = "not_enrolled"  // no certificate, or none that is pinned
	CodeInvitation  = "invitation"    // used up, expired or wrong
	CodeWrong       = "wrong_code"    // TOTP or recovery code wrong, or used before
	CodeLocked      = "locked"        // too many wrong codes
	CodeNoGrant     = "no_grant"      // none active for this incident
	CodeNotSealed   = "not_sealed"    // there is no bundle yet
	CodeBusy        = "busy"          // too many at once
	CodeUnavailable = "not_available" // the ledger or disk does not take it: nothing is given out unrecorded
)
