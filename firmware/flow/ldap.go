package flow

type ldapConn struct{}

func ldapStarts(b []byte) bool                    { return false }
func ldapMeasure(b []byte) (size int64, head int) { return -1, 0 }
func (m *pduAt) readLDAP() *Error                 { return nil }
