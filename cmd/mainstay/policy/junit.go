// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr"`
	Line    int           `xml:"line,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure,omitempty"`
	Error   *junitMessage `xml:"error,omitempty"`
	Skipped *struct{}     `xml:"skipped,omitempty"`
	Output  string        `xml:"system-out,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// writeJUnit writes the results as one suite for each package of tests.
func writeJUnit(w io.Writer, r *tested) error {
	out := junitSuites{}
	at := map[string]int{}
	for _, t := range r.Tests {
		i := strings.LastIndexByte(t.Name, '.')
		class, name := t.Name[:max(i, 0)], t.Name[i+1:]
		if _, ok := at[class]; !ok {
			at[class] = len(out.Suites)
			out.Suites = append(out.Suites, junitSuite{Name: class})
		}
		s := &out.Suites[at[class]]
		c := junitCase{Name: name, Class: class, File: t.File, Line: t.Row, Time: fmt.Sprintf("%.6f", t.Seconds), Output: t.Output}
		message := &junitMessage{Message: t.Message, Text: t.Expression}
		if t.FailedAt != "" && message.Message == "" {
			message.Message = "not true: " + t.FailedAt
		}
		switch t.Outcome {
		case "fail":
			c.Failure = message
			s.Failures++
		case "error":
			c.Error = message
			s.Errors++
		case "skip":
			c.Skipped = &struct{}{}
			s.Skipped++
		}
		s.Tests++
		s.Cases = append(s.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(out); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}
