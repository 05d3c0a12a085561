package flow

func kerberosMeasure(b []byte) (size int64, head int) { return -1, 0 }
func (m *pduAt) readKerberos() *Error                 { return nil }
