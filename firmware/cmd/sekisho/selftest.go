package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"sekisho/firmware/config"
	"sekisho/firmware/gateway"
)

type selftestCmd struct {
	Config string `type:"path" placeholder:"FILE" help:"Check the interfaces and folders of this settings file too."`
}

// Run prints one line for each thing that the gateway needs.
func (c *selftestCmd) Run(s streams) error {
	checks := gateway.MachineChecks()
	if c.Config != "" {
		settings, err := config.Load(c.Config)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		checks = append(checks, gateway.SettingsChecks(settings)...)
		for key, dir := range map[string]string{"storage.state": settings.Storage.State, "storage.evidence": settings.Storage.Evidence} {
			checks = append(checks, gateway.Check{Name: key, Err: writable(dir)})
		}
	}
	failed := 0
	for _, check := range checks {
		if check.Err == nil {
			fmt.Fprintf(s.out, "ok    %s\n", check.Name)
			continue
		}
		failed++
		fmt.Fprintf(s.out, "FAIL  %s: %v\n", check.Name, check.Err)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(checks))
	}
	return nil
}

// writable tries the nearest folder that exists: sekisho makes the rest.
func writable(dir string) error {
	for {
		f, err := os.CreateTemp(dir, ".selftest-*")
		if errors.Is(err, os.ErrNotExist) && filepath.Dir(dir) != dir {
			dir = filepath.Dir(dir)
			continue
		}
		if err != nil {
			return err
		}
		return errors.Join(f.Close(), os.Remove(f.Name()))
	}
}
