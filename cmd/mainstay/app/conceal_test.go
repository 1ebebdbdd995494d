// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestTheTokenIsTakenOutOfWhatWentWrong(t *testing.T) {
	const word = "0123456789abcdef0123456789abcdef"
	answer := `{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"reason":"InternalError","message":` +
		`"failed calling webhook \"held.mainstay.dev\": Post \"https://x/admit/` + word + `/held?timeout=3s\": refused; and again ` + word + `"}`
	for _, code := range []int{http.StatusForbidden, http.StatusInternalServerError} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(code)
				fmt.Fprintf(w, answer, code)
			}))
			t.Cleanup(server.Close)
			c := new(concealer)
			config := &rest.Config{Host: server.URL}
			config.Wrap(c.wrap)
			kube, err := kubernetes.NewForConfig(config)
			must(t, err)
			say := func() string {
				_, err := kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "c", metav1.GetOptions{})
				if err == nil {
					t.Fatal("the API server's error was lost")
				}
				return err.Error()
			}
			if said := say(); !strings.Contains(said, word) {
				t.Fatalf("before there is a word: %s", said)
			}
			c.word.Store(new(word))
			if said := say(); strings.Contains(said, word) || !strings.Contains(said, `"https://x/admit/********************************/held?timeout=3s": refused; and again ***`) {
				t.Errorf("said: %s", said)
			}
		})
	}
}

func TestTheTokenIsLeftInWhatWasAskedFor(t *testing.T) {
	const word = "0123456789abcdef0123456789abcdef"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c"},"data":{"path":"`+word+`"}}`)
	}))
	t.Cleanup(server.Close)
	c := new(concealer)
	c.word.Store(new(word))
	config := &rest.Config{Host: server.URL}
	config.Wrap(c.wrap)
	kube, err := kubernetes.NewForConfig(config)
	must(t, err)
	got, err := kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "c", metav1.GetOptions{})
	must(t, err)
	if got.Data["path"] != word {
		t.Errorf("read %v: the configuration would be written again and again", got.Data)
	}
}
