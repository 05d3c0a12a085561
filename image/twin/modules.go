package twin

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Needed returns the modules of these names and what they depend on, each after
// what it needs, as paths below k.Modules. What is built into the kernel is
// left out; a name that the kernel does not have is an error.
func (k Kernel) Needed(names ...string) ([]string, error) {
	dep, err := os.ReadFile(filepath.Join(k.Modules, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("modules of %s: %w", k.Version, err)
	}
	builtin, err := os.ReadFile(filepath.Join(k.Modules, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("modules of %s: %w", k.Version, err)
	}
	order, err := loadOrder(string(dep), string(builtin), names)
	if err != nil {
		return nil, fmt.Errorf("modules of %s: %w", k.Version, err)
	}
	return order, nil
}

// loadOrder reads modules.dep(5), where each module has all that it needs
// behind it, what is to be loaded first last.
func loadOrder(dep, builtin string, names []string) ([]string, error) {
	needs, paths := map[string][]string{}, map[string]string{}
	for line := range strings.Lines(dep) {
		file, list, _ := strings.Cut(line, ":")
		needs[file] = strings.Fields(list)
		paths[moduleName(file)] = file
	}
	inside := map[string]bool{}
	for line := range strings.Lines(builtin) {
		inside[moduleName(strings.TrimSpace(line))] = true
	}
	var order []string
	add := func(file string) {
		if !slices.Contains(order, file) {
			order = append(order, file)
		}
	}
	for _, name := range names {
		file, ok := paths[moduleName(name)]
		if !ok && !inside[moduleName(name)] {
			return nil, fmt.Errorf("there is no module %s", name)
		}
		if ok {
			for _, n := range slices.Backward(needs[file]) {
				add(n)
			}
			add(file)
		}
	}
	return order, nil
}

// moduleName is how the kernel calls the module in file.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}
