// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// steps say what to do by the reason of Ready.
var steps = map[string]string{
	"AuthFailed":             "correct the credentials in the Secret of spec.source.secretRef",
	"RepositoryNotFound":     "correct spec.source.url, or give the credentials access to it",
	"Unreachable":            "find out why the repository can't be reached; what is applied stays enforced",
	"TLSFailed":              "put the server's CA into the Secret as ca.crt",
	"SecretNotFound":         "create the Secret that the message names",
	"RefNotFound":            "correct spec.source.ref, or push it",
	"RenderFailed":           "mend the files that the message names, commit and push; mainstay diff shows what comes of it",
	"Invalid":                "mend the files that the message names, commit and push",
	"KindNotInstalled":       "install the kind's CustomResourceDefinition, or put it into the repository",
	"NamespaceNotFound":      "put the namespace's manifest into the repository",
	"PlanFailed":             "mend what the API server refuses, commit and push, or git revert",
	"ApplyFailed":            "mend what the API server refuses, commit and push, or git revert",
	"PruneFailed":            "see why the API server does not delete what the message names",
	"Conflict":               "remove the object from one of the two GitSyncs",
	"AccessDenied":           "bind a role to the account that the message names",
	"EmptyRender":            "correct spec.source.path; delete the GitSync to let its objects go",
	dependencyNotReady:       "wait for what the message names, or mend it",
	"DependencyCycle":        "take one of the entries of spec.dependsOn away",
	"HealthTimeout":          "see the objects below that are not ready: kubectl describe them; git revert brings the last commit back",
	"Unhealthy":              "see the objects below that have failed: kubectl describe them; git revert brings the last commit back",
	"Suspended":              "wait for the end of the suspension, or mainstay resume",
	"ServiceAccountRequired": "set spec.serviceAccountName",
	"SourceNotAllowed":       "follow an https:// repository",
	"Timeout":                "raise spec.timeout, or declare less in one GitSync",
}

const dependencyNotReady = "DependencyNotReady"

// next says what to do now; empty where nothing has to be done.
func next(gs *v1alpha1.GitSync) string {
	at := fmt.Sprintf("%s -n %s", gs.Name, gs.Namespace)
	ready, drifted := cli.Condition(gs, v1alpha1.ConditionReady), cli.Condition(gs, v1alpha1.ConditionDrifted)
	switch {
	case gs.Status.Suspended != nil:
		return "it ends by itself; to end it now: mainstay resume " + at
	case ready.Status == metav1.ConditionUnknown && ready.Reason == "":
		return "the controller has said nothing yet: does it run?"
	case ready.Status == metav1.ConditionUnknown:
		return "wait: mainstay sync " + at + " --wait"
	case ready.Status == metav1.ConditionFalse && steps[ready.Reason] != "":
		return steps[ready.Reason]
	case ready.Status == metav1.ConditionFalse:
		return "see the message of Ready"
	}
	if c := cli.Condition(gs, v1alpha1.ConditionPoliciesReady); c.Status == metav1.ConditionFalse {
		return "mend the policy that PoliciesReady names, commit and push; the last good ones are in force"
	}
	switch {
	case drifted.Status == metav1.ConditionTrue && drifted.Reason == "Fight":
		return "stop the other side, take the field out of git, or permit its change by an exception"
	case drifted.Status == metav1.ConditionTrue && drifted.Reason == "RevertFailed":
		return "see why the API server refuses what Drifted names"
	case drifted.Status == metav1.ConditionTrue && drifted.Reason == v1alpha1.ReasonAwaitingGit:
		return "bring the change into git: mainstay breakglass patch NAME; or give it up: mainstay breakglass revert NAME"
	case drifted.Status == metav1.ConditionTrue:
		return "see what differs: mainstay diff " + at
	}
	if c := cli.Condition(gs, v1alpha1.ConditionEnforcing); c.Status == metav1.ConditionFalse && gs.Spec.Enforcement.Mode == v1alpha1.ModeEnforce {
		return "manual changes are not refused now: see the message of Enforcing"
	}
	return ""
}
