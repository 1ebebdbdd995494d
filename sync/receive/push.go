// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package receive

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// push is what of a payload counts: which repository, which refs.
type push struct {
	// addresses of the repository, without scheme, user, port and .git.
	addresses map[string]bool
	refs      []string
}

// payload has the fields of all forges that say so.
type payload struct {
	Ref        string
	Repository struct {
		CloneURL   string `json:"clone_url"`
		SSHURL     string `json:"ssh_url"`
		HTMLURL    string `json:"html_url"`
		GitHTTPURL string `json:"git_http_url"`
		GitSSHURL  string `json:"git_ssh_url"`
		Homepage   string
		Links      struct {
			HTML  struct{ Href string }
			Clone []struct{ Href string }
		}
	}
	Push struct {
		Changes []struct {
			Old, New *struct{ Type, Name string }
		}
	}
	Changes []struct {
		RefID string `json:"refId"`
	}
}

func parse(body []byte) (*push, error) {
	var in payload
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, fmt.Errorf("the body is no JSON of a push: %w", err)
	}
	p := &push{addresses: map[string]bool{}}
	r := in.Repository
	all := []string{r.CloneURL, r.SSHURL, r.HTMLURL, r.GitHTTPURL, r.GitSSHURL, r.Homepage, r.Links.HTML.Href}
	for _, c := range r.Links.Clone {
		all = append(all, c.Href)
	}
	for _, address := range all {
		if a := normal(address); a != "" {
			p.addresses[a] = true
		}
	}
	if in.Ref != "" {
		p.refs = append(p.refs, in.Ref)
	}
	for _, c := range in.Push.Changes {
		for _, side := range []*struct{ Type, Name string }{c.Old, c.New} {
			switch {
			case side == nil:
			case side.Type == "tag":
				p.refs = append(p.refs, "refs/tags/"+side.Name)
			default:
				p.refs = append(p.refs, "refs/heads/"+side.Name)
			}
		}
	}
	for _, c := range in.Changes {
		p.refs = append(p.refs, c.RefID)
	}
	return p, nil
}

// normal is what two addresses of one repository have in common.
func normal(address string) string {
	if !strings.Contains(address, "://") {
		if host, path, ok := strings.Cut(address, ":"); ok && !strings.Contains(host, "/") {
			address = "ssh://" + host + "/" + strings.TrimPrefix(path, "/")
		}
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return ""
	}
	path := strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git")
	// Bitbucket's own server has another path for https.
	return strings.ToLower(u.Hostname() + "/" + strings.TrimPrefix(path, "scm/"))
}

// concerns tells whether a GitSync follows what was pushed.
func (p *push) concerns(source *v1alpha1.Source) bool {
	if !p.addresses[normal(source.URL)] {
		return false
	}
	for _, ref := range p.refs {
		r := source.Ref
		switch {
		case r.Branch != "" && ref == "refs/heads/"+r.Branch,
			r.Tag != "" && ref == "refs/tags/"+r.Tag,
			r.SemVer != "" && strings.HasPrefix(ref, "refs/tags/"),
			r.Name != "" && ref == r.Name:
			return true
		}
	}
	return false
}
