package flow

import "sekisho/firmware/capture"

func (h *Header) ethernet(data []byte) *Error { return nil }

func (h *Header) otherLink(link capture.LinkType, data []byte) *Error { return nil }
