// Package flow turns frames into typed events: it decodes headers without
// allocating, tracks connections in a bounded table, and hands the few packets
// that carry names and identities to deeper parsers.
//
// The gateway and `sekisho replay` call it with every frame. It knows packet
// time only, keeps no frame bytes, and must never panic or grow without bound,
// whatever the wire carries.
package flow
