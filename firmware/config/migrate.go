package config

import (
	"fmt"

	"github.com/BurntSushi/toml"
)

// migrations[i] turns version i+1 into version i+2. There is one version so
// far; a file without a version key counts as version 1.
var migrations = []func(map[string]any) error{}

// migrate brings the file up to Version, one step per version, and refuses one
// that a newer program wrote.
func migrate(data []byte) ([]byte, error) {
	var head struct {
		Version int `toml:"version"`
	}
	head.Version = 1
	if _, err := toml.Decode(string(data), &head); err != nil {
		return data, nil // Parse reports it with its place
	}
	switch {
	case head.Version > Version:
		return nil, fmt.Errorf("version: %d was written by a newer program; this one reads up to %d", head.Version, Version)
	case head.Version < 1:
		return nil, fmt.Errorf("version: %d is not a version; write %d", head.Version, Version)
	case head.Version == Version:
		return data, nil
	}
	var doc map[string]any
	if _, err := toml.Decode(string(data), &doc); err != nil {
		return nil, err
	}
	for v := head.Version; v < Version; v++ {
		if err := migrations[v-1](doc); err != nil {
			return nil, fmt.Errorf("version: migrate %d to %d: %w", v, v+1, err)
		}
		doc["version"] = v + 1
	}
	return toml.Marshal(doc)
}
