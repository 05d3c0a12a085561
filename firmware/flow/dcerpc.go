package flow

// maxStub is how much of a request's body is kept.
const maxStub = 1024

// rpcConn is what is kept of one DCE/RPC conversation.
type rpcConn struct{}

func rpcStarts(b []byte) bool                                                 { return false }
func rpcMeasure(b []byte) (size int64, head int)                              { return -1, 0 }
func (m *pduAt) readRPC() *Error                                              { return nil }
func (m *pduAt) pipeData(file uint64, path string, data []byte, dir int) bool { return false }
