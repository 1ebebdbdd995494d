// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/valyala/fastjson"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apijson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// Object is an object as it came over the wire, with the little of its
// metadata that a Reflector needs.
type Object struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	Raw []byte
}

// DeepCopyObject is a shallow copy: objects are never changed.
func (o *Object) DeepCopyObject() runtime.Object { c := *o; return &c }

// objectList is a list of Objects.
type objectList struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []Object
}

// DeepCopyObject is a shallow copy: lists are never changed.
func (l *objectList) DeepCopyObject() runtime.Object { c := *l; return &c }

func objectOf(v *fastjson.Value, raw []byte) Object {
	o := Object{Raw: raw}
	m := v.Get("metadata")
	o.Namespace = string(m.GetStringBytes("namespace"))
	o.Name = string(m.GetStringBytes("name"))
	o.UID = types.UID(m.GetStringBytes("uid"))
	o.ResourceVersion = string(m.GetStringBytes("resourceVersion"))
	if end := m.GetStringBytes("annotations", metav1.InitialEventsAnnotationKey); end != nil {
		o.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: string(end)}
	}
	return o
}

// codec decodes objects and lists to Object and objectList.
type codec struct{}

func (codec) Decode(data []byte, _ *schema.GroupVersionKind, _ runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	// No parser is shared: its values must not outlive the next call.
	v, err := fastjson.ParseBytes(data)
	if err != nil {
		return nil, nil, fmt.Errorf("parse object: %w", err)
	}
	gvk := schema.FromAPIVersionAndKind(string(v.GetStringBytes("apiVersion")), string(v.GetStringBytes("kind")))
	if gvk.Kind == "Status" && gvk.GroupVersion() == metav1.Unversioned {
		status := new(metav1.Status)
		if err := json.Unmarshal(data, status); err != nil {
			return nil, nil, fmt.Errorf("parse status: %w", err)
		}
		return status, &gvk, nil
	}
	if v.Get("metadata") == nil {
		return nil, nil, errors.New("parse object: it has no metadata")
	}
	if v.Exists("items") {
		list := &objectList{}
		list.ResourceVersion = string(v.GetStringBytes("metadata", "resourceVersion"))
		list.Continue = string(v.GetStringBytes("metadata", "continue"))
		for _, item := range v.GetArray("items") {
			list.Items = append(list.Items, objectOf(item, item.MarshalTo(nil)))
		}
		return list, &gvk, nil
	}
	o := objectOf(v, append([]byte(nil), data...))
	return &o, &gvk, nil
}

func (codec) Encode(runtime.Object, io.Writer) error {
	return errors.New("watch: objects are only read")
}

func (codec) Identifier() runtime.Identifier { return "mainstay-raw" }

// frames decodes the envelope of watch events.
type frames struct{ codec }

func (frames) Decode(data []byte, _ *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	event, ok := into.(*metav1.WatchEvent)
	if !ok {
		return nil, nil, fmt.Errorf("parse watch event into %T", into)
	}
	var envelope struct {
		Type   string          `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	if err := json.Unmarshal(data, &envelope); err != nil {
		return nil, nil, fmt.Errorf("parse watch event: %w", err)
	}
	event.Type, event.Object.Raw = envelope.Type, envelope.Object
	gvk := schema.GroupVersionKind{Version: "v1", Kind: "WatchEvent"}
	return event, &gvk, nil
}

// negotiator offers JSON alone.
type negotiator struct{}

func (negotiator) SupportedMediaTypes() []runtime.SerializerInfo {
	return []runtime.SerializerInfo{{
		MediaType:        "application/json",
		MediaTypeType:    "application",
		MediaTypeSubType: "json",
		EncodesAsText:    true,
		Serializer:       codec{},
		StreamSerializer: &runtime.StreamSerializerInfo{
			EncodesAsText: true,
			Serializer:    frames{},
			Framer:        apijson.Framer,
		},
	}}
}

func (negotiator) EncoderForVersion(e runtime.Encoder, _ runtime.GroupVersioner) runtime.Encoder {
	return e
}

func (negotiator) DecoderToVersion(d runtime.Decoder, _ runtime.GroupVersioner) runtime.Decoder {
	return d
}

func clientFor(config *rest.Config, client *http.Client, gv schema.GroupVersion) (rest.Interface, error) {
	c := rest.CopyConfig(config)
	c.GroupVersion = &gv
	c.APIPath = "/apis"
	if gv.Group == "" {
		c.APIPath = "/api"
	}
	c.NegotiatedSerializer = negotiator{}
	c.ContentType, c.AcceptContentTypes = "application/json", "application/json"
	c.QPS = -1
	rc, err := rest.RESTClientForConfigAndClient(c, client)
	if err != nil {
		return nil, fmt.Errorf("client for %s: %w", gv, err)
	}
	return rc, nil
}
