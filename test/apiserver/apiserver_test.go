// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"os"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/test/apiserver"
)

func TestMain(m *testing.M) { os.Exit(apiserver.Main(m)) }

func TestEveryUserMayDoEverything(t *testing.T) {
	for _, user := range []string{"admin", "alice", "bob"} {
		out, err := apiserver.Kubectl(t, user, "auth", "can-i", "*", "*", "--all-namespaces")
		if err != nil || !strings.Contains(out, "yes") {
			t.Errorf("%s: got %q, %v, want yes", user, out, err)
		}
	}
}

func TestMainstaysKindsAreServed(t *testing.T) {
	out, err := apiserver.Kubectl(t, "admin", "get", "gitsyncs,changepolicies,breakglasses,inventories", "-n", apiserver.Namespace(t))
	if err != nil {
		t.Errorf("got %v\n%s", err, out)
	}
}

func TestAFailureOfKubectlIsAnErrorWithItsWords(t *testing.T) {
	out, err := apiserver.Kubectl(t, "alice", "get", "configmap", "absent")
	if err == nil || !strings.Contains(out, `configmaps "absent" not found`) {
		t.Errorf("got %q, %v, want an error and that the ConfigMap is not found", out, err)
	}
}
