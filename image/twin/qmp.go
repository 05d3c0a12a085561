package twin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// qmp is QEMU's machine protocol (docs/interop/qmp-spec of QEMU): a greeting,
// then one JSON object a line; events come between answers, and are left out.
type qmp struct {
	conn net.Conn
	read lineReader

	mu     sync.Mutex
	ready  bool
	number uint64
	broken error // whoever gave up in the middle leaves no place to go on from
}

func newQMP(c net.Conn) *qmp { return &qmp{conn: c, read: newLineReader(c)} }

type qmpAnswer struct {
	Greeting *json.RawMessage `json:"QMP"`
	Return   json.RawMessage  `json:"return"`
	ID       *uint64          `json:"id"`
	Error    *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

// execute runs one command and decodes its answer into out, unless that is nil.
func (q *qmp) execute(ctx context.Context, command string, args, out any) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	answer, err := q.ask(ctx, command, args)
	if err == nil && out != nil {
		err = json.Unmarshal(answer, out)
	}
	if err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	return nil
}

func (q *qmp) ask(ctx context.Context, command string, args any) (json.RawMessage, error) {
	if q.broken != nil {
		return nil, q.broken
	}
	stop := context.AfterFunc(ctx, func() { _ = q.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if !q.ready {
		if _, err := q.one(ctx, "qmp_capabilities", nil); err != nil {
			return nil, err
		}
		q.ready = true
	}
	return q.one(ctx, command, args)
}

// one writes a command and reads up to its answer.
func (q *qmp) one(ctx context.Context, command string, args any) (json.RawMessage, error) {
	fail := func(err error) (json.RawMessage, error) {
		q.broken = errors.Join(ctx.Err(), err)
		return nil, q.broken
	}
	q.number++
	text, err := json.Marshal(map[string]any{"execute": command, "arguments": args, "id": q.number})
	if args == nil {
		text, err = json.Marshal(map[string]any{"execute": command, "id": q.number})
	}
	if err != nil {
		return nil, err
	}
	if _, err := q.conn.Write(append(text, '\n')); err != nil {
		return fail(err)
	}
	for {
		line, err := q.read.next()
		if err != nil {
			return fail(err)
		}
		var a qmpAnswer
		if err := json.Unmarshal(line, &a); err != nil {
			return fail(fmt.Errorf("%.200q: %w", line, err))
		}
		switch {
		case a.Error != nil && (a.ID == nil || *a.ID == q.number): // without an id: it could not read us
			return nil, fmt.Errorf("%s: %s", a.Error.Class, a.Error.Desc)
		case a.ID != nil && *a.ID == q.number:
			return a.Return, nil
		}
	}
}

// monitor runs a command of the human monitor. Those that are used here say
// something only when they failed.
func (q *qmp) monitor(ctx context.Context, line string) error {
	var said string
	if err := q.execute(ctx, "human-monitor-command", map[string]string{"command-line": line}, &said); err != nil {
		return err
	}
	if said = strings.TrimSpace(said); said != "" {
		return fmt.Errorf("%s: %s", line, said)
	}
	return nil
}

// find returns the path of the first device of a type.
func (q *qmp) find(ctx context.Context, kind string) (string, error) {
	const folder = "/machine/unattached"
	var list []struct{ Name, Type string }
	if err := q.execute(ctx, "qom-list", map[string]string{"path": folder}, &list); err != nil {
		return "", err
	}
	for _, d := range list {
		if d.Type == "child<"+kind+">" {
			return folder + "/" + d.Name, nil
		}
	}
	return "", fmt.Errorf("the machine has no %s", kind)
}
