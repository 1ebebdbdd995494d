// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mainstay-gitops/mainstay/policy"
)

// folderKey is the key of the source that policies on disk are.
const folderKey = "gitsync/mainstay-system/folder"

// readFolders reads the Rego below folders, and files that are named, by path as
// it is given: so what is found can be opened as it is printed. Hidden folders
// are left out. Nothing to read is an error.
func readFolders(folders []string) (policy.Source, error) {
	modules := map[string]string{}
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir():
				if base := entry.Name(); name != folder && strings.HasPrefix(base, ".") {
					return filepath.SkipDir
				}
				return nil
			case !strings.HasSuffix(name, ".rego"):
				return nil
			}
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			modules[filepath.ToSlash(name)] = string(content)
			return nil
		})
		if err != nil {
			return policy.Source{}, fmt.Errorf("read policies: %w", err)
		}
	}
	if len(modules) == 0 {
		return policy.Source{}, fmt.Errorf("there is no *.rego below %s: mainstay policy new writes a first one", strings.Join(folders, ", "))
	}
	return policy.Source{Key: folderKey, Modules: modules}, nil
}

// compiled is a source in an engine that holds nothing else. Values of Secrets
// are hashed as the webhook does it.
func compiled(ctx context.Context, source policy.Source) (*policy.Engine, *policy.Program, error) {
	engine, err := policy.New(ctx, policy.Options{MaskSecret: mask})
	if err != nil {
		return nil, nil, err
	}
	program, err := engine.Compile(ctx, source)
	return engine, program, err
}

// compileFolders is for commands that only work on policies without a mistake.
func compileFolders(ctx context.Context, folders []string) (*policy.Engine, *policy.Program, error) {
	source, err := readFolders(folders)
	if err != nil {
		return nil, nil, err
	}
	engine, program, err := compiled(ctx, source)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: mainstay policy check says more", err)
	}
	return engine, program, nil
}
