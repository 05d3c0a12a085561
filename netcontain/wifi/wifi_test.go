package wifi

import "log/slog"

var quiet = slog.New(slog.DiscardHandler)
