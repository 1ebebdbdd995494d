// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// mutated makes an Event where somebody changed what was applied in that same
// write. What they made of it counts as git's: to fight a webhook that is asked
// about every write can't be won.
func (l *Loop) mutated(sync *ownership.Sync, e *ownership.Entry) {
	if len(e.Applied.Mutated) > 0 {
		l.warn(sync, e, "Mutated", "Apply", "somebody's mutating webhook or policy changes what git says: "+strings.Join(e.Applied.Mutated, "; "))
	}
}

// mutations says which objects of a GitSync are stored otherwise than git says;
// empty where all are as it says.
func (l *Loop) mutations(key types.NamespacedName) string {
	var all []string
	for _, e := range l.Index.Entries(key) {
		content := e.Current()
		if content == nil || len(content.Mutated) == 0 || e.Pruning {
			continue
		}
		where := ""
		if e.Namespace != "" {
			where = " in " + e.Namespace
		}
		what := content.Mutated[0]
		if n := len(content.Mutated) - 1; n > 0 {
			what += fmt.Sprintf(" (and %d more)", n)
		}
		all = append(all, fmt.Sprintf("%s %q%s: %s", e.GVR().GroupResource(), e.Name, where, what))
	}
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	objects := fmt.Sprintf("%d objects are", len(all))
	if len(all) == 1 {
		objects = "1 object is"
	}
	if n := len(all) - 3; n > 0 {
		all = append(all[:3:3], fmt.Sprintf("and %d more", n))
	}
	return fmt.Sprintf("%s changed by somebody's mutating webhook or policy: %s; once that is mended: kubectl mainstay sync %s -n %s",
		objects, strings.Join(all, "; "), key.Name, key.Namespace)
}
