// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	apicache "k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/seal"
)

// sealingKey reads the key, or makes it if there is none. Of several replicas
// that make one, the first wins.
func sealingKey(ctx context.Context, kube kubernetes.Interface, namespace string) (*seal.Key, error) {
	secrets := kube.CoreV1().Secrets(namespace)
	secret, err := secrets.Get(ctx, v1alpha1.KeySecret, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		generated, generateErr := seal.Generate()
		if generateErr != nil {
			return nil, generateErr
		}
		immutable := true
		secret, err = secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.KeySecret, Namespace: namespace},
			Type:       v1alpha1.SecretTypeKey, Immutable: &immutable,
			Data: map[string][]byte{v1alpha1.KeySecretKey: generated},
		}, metav1.CreateOptions{FieldManager: v1alpha1.FieldManager})
		if apierrors.IsAlreadyExists(err) {
			secret, err = secrets.Get(ctx, v1alpha1.KeySecret, metav1.GetOptions{})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the sealing key %s/%s: %w", namespace, v1alpha1.KeySecret, err)
	}
	key, err := seal.NewKey(secret.Data[v1alpha1.KeySecretKey])
	if err != nil {
		return nil, fmt.Errorf("secret %s/%s: %w", namespace, v1alpha1.KeySecret, err)
	}
	return key, nil
}

// mayGetFor is how long an answer of mayGet is used again.
const mayGetFor = 10 * time.Second

// mayGet asks whether a user may read an object. It is asked for refusals only;
// an error means no. A controller that is refused tries again and again, so
// answers are kept for a moment.
func mayGet(kube kubernetes.Interface) func(context.Context, *policy.User, schema.GroupVersionResource, string, string) bool {
	answers := apicache.NewLRUExpireCache(1024)
	return func(ctx context.Context, user *policy.User, resource schema.GroupVersionResource, namespace, name string) bool {
		key := fmt.Sprintf("%q", []any{user.Username, user.UID, user.Groups, user.Extra, resource, namespace, name})
		if allowed, ok := answers.Get(key); ok {
			return allowed == true
		}
		allowed, err := may(ctx, kube, user, authorizationv1.ResourceAttributes{
			Verb: "get", Group: resource.Group, Version: resource.Version, Resource: resource.Resource,
			Namespace: namespace, Name: name,
		})
		if err != nil {
			return false
		}
		answers.Add(key, allowed, mayGetFor)
		return allowed
	}
}

// maySuspend asks whether a user has the verb suspend on a GitSync. Nothing is
// remembered: a right that was just given or taken counts.
func maySuspend(kube kubernetes.Interface) func(context.Context, *policy.User, string, string) (bool, error) {
	return func(ctx context.Context, user *policy.User, namespace, name string) (bool, error) {
		return may(ctx, kube, user, authorizationv1.ResourceAttributes{
			Verb: "suspend", Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Resource: "gitsyncs",
			Namespace: namespace, Name: name,
		})
	}
}

// may asks the API server whether a user may do something.
func may(ctx context.Context, kube kubernetes.Interface, user *policy.User, what authorizationv1.ResourceAttributes) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for k, v := range user.Extra {
		extra[k] = v
	}
	review, err := kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra, ResourceAttributes: &what,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask whether %s may %s %s: %w", user.Username, what.Verb, what.Resource, err)
	}
	return review.Status.Allowed, nil
}

// accountExists tells whether there is a ServiceAccount. Where that can't be
// told it is taken to exist: the answer is for a warning only.
func accountExists(kube kubernetes.Interface) func(context.Context, string, string) bool {
	return func(ctx context.Context, namespace, name string) bool {
		ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		_, err := kube.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
		return !apierrors.IsNotFound(err)
	}
}

// podMetadata asks for the metadata of one pod, never a cache: pods are too many
// to be kept, and come and go.
func podMetadata(direct client.Reader) func(ctx context.Context, namespace, name string) (*metav1.PartialObjectMetadata, error) {
	return func(ctx context.Context, namespace, name string) (*metav1.PartialObjectMetadata, error) {
		m := &metav1.PartialObjectMetadata{}
		m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
		if err := direct.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, m); err != nil {
			return nil, fmt.Errorf("get pod %s/%s: %w", namespace, name, err)
		}
		return m, nil
	}
}

// mayApprove asks whether a user has the verb approve on a BreakGlass, afresh
// each time.
func mayApprove(kube kubernetes.Interface) func(ctx context.Context, user *policy.User, namespace, name string) (bool, error) {
	return func(ctx context.Context, user *policy.User, namespace, name string) (bool, error) {
		return may(ctx, kube, user, authorizationv1.ResourceAttributes{
			Verb: "approve", Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Resource: "breakglasses",
			Namespace: namespace, Name: name,
		})
	}
}

// replica names this process among the replicas, so that it can be in the name
// of a Secret.
func replica() string {
	name, err := os.Hostname()
	if err != nil {
		name = "unnamed"
	}
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
	return strings.Trim(name[:min(len(name), 200)], "-") + "-r"
}

// namespaces answers about namespaces from a watch on their metadata.
type namespaces struct{ cache cache.Cache }

func newNamespaces(c cache.Cache) *namespaces { return &namespaces{c} }

func namespaceMetadata() *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return m
}

// watch has the cache follow namespaces before the first question.
func (n *namespaces) watch(ctx context.Context) error {
	if _, err := n.cache.GetInformer(ctx, namespaceMetadata(), cache.BlockUntilSynced(false)); err != nil {
		return fmt.Errorf("watch namespaces: %w", err)
	}
	return nil
}

// get returns nil for a namespace that is not known. It only reads memory: the
// time bounds a cache that has not been filled yet.
func (n *namespaces) get(name string) *metav1.PartialObjectMetadata {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	m := namespaceMetadata()
	if err := n.cache.Get(ctx, types.NamespacedName{Name: name}, m); err != nil {
		return nil
	}
	return m
}

func (n *namespaces) terminating(name string) bool {
	m := n.get(name)
	return m != nil && !m.DeletionTimestamp.IsZero()
}

func (n *namespaces) metadata(name string) (labels, annotations map[string]string) {
	m := n.get(name)
	if m == nil {
		return nil, nil
	}
	return m.Labels, m.Annotations
}

// newLogger logs JSON lines; debug adds those of level 1.
func newLogger(w io.Writer, debug bool) logr.Logger {
	return zap.New(zap.WriteTo(w), zap.UseDevMode(debug), zap.JSONEncoder())
}
