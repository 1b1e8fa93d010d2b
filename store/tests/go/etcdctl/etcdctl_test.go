// Package etcdctl holds a test that runs every family of etcdctl's commands against three members of a store.
package etcdctl

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"raftsman.example/etcd-clients/member"
)

const patience = 150 * time.Second

// ctl is one etcdctl with the endpoints that it is given.
type ctl struct {
	t         *testing.T
	dir       string
	endpoints []string
	names     map[string]string
}

// run fills in names and says what is printed, and whether it went well.
func (c *ctl) run(stdin string, words ...string) (string, bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	arguments := []string{"--endpoints", strings.Join(c.endpoints, ",")}
	for _, word := range words {
		for name, value := range c.names {
			word = strings.ReplaceAll(word, "{"+name+"}", value)
		}
		arguments = append(arguments, word)
	}
	binary := "etcdctl"
	if words[0] == "etcdutl" {
		binary, arguments = "etcdutl", arguments[3:]
	}
	command := exec.CommandContext(ctx, filepath.Join(c.dir, binary), arguments...)
	command.Stdin = strings.NewReader(stdin)
	out := &bytes.Buffer{}
	command.Stdout, command.Stderr = out, out
	err := command.Run()
	return out.String(), err == nil
}

// step is a command, what it reads, and what it says.
type step struct {
	words string
	stdin string
	wants string
	// It is refused.
	fails bool
	// How it ends goes by the machine.
	either bool
	// The first group of `wants` is called so from here on.
	names string
}

var steps = []step{
	{words: "version", wants: `etcdctl version: 3\.`},
	{words: "put a 1", wants: `^OK\n$`},
	{words: "put b", stdin: "from stdin", wants: `^OK\n$`},
	{words: "put a 2 --prev-kv", wants: `^OK\na\n1\n$`},
	{words: "put --ignore-value a", wants: `^OK\n$`},
	{words: "get a", wants: `^a\n2\n$`},
	{words: "get a -w json", wants: `"kvs":\[\{"key":"YQ==".*"version":3`},
	{words: "get a -w fields", wants: `"Version" : 3`},
	{words: "get --prefix --keys-only --sort-by=MODIFY --order=DESCEND ", wants: `^a\n\nb\n\n$`},
	{words: "get --from-key b --limit=1 --print-value-only", wants: `^from stdin\n$`},
	{words: "get --count-only --prefix --write-out=fields ", wants: `"Count" : 2`},
	{words: "get a --rev=2", wants: `^a\n1\n$`},
	{words: "get a --rev=1000", wants: `required revision is a future revision`, fails: true},
	{words: "txn", stdin: "value(\"a\") = \"2\"\nversion(\"b\") > \"0\"\n\nput c 3\nget c\ndel b\n\nput d 4\n\n",
		wants: `^SUCCESS\n\nOK\n\nc\n3\n\n1\n$`},
	{words: "txn", stdin: "mod(\"a\") = \"1\"\n\nput c 4\n\nget c\n\n", wants: `^FAILURE\n\nc\n3\n$`},
	{words: "del c --prev-kv", wants: `^1\nc\n3\n$`},
	{words: "del nothing", wants: `^0\n$`},
	{words: "compaction 3", wants: `^compacted revision 3\n$`},
	{words: "compaction 3", wants: `required revision has been compacted`, fails: true},
	{words: "compaction --physical 4", wants: `^compacted revision 4\n$`},
	{words: "get a --rev=2", wants: `required revision has been compacted`, fails: true},
	{words: "defrag --cluster", wants: `(?s)Finished defragmenting.*Finished defragmenting.*Finished defragmenting`},

	{words: "lease grant 600", wants: `lease ([0-9a-f]+) granted with TTL\(600s\)`, names: "lease"},
	{words: "put leased x --lease={lease}", wants: `^OK\n$`},
	{words: "lease timetolive {lease} --keys", wants: `granted with TTL\(600s\), remaining\((600|59\d)s\), attached keys\(\[leased\]\)`},
	{words: "lease keep-alive --once {lease}", wants: `keepalived with TTL\(600\)`},
	{words: "lease list", wants: `found 1 leases\n{lease}`},
	{words: "lease revoke {lease}", wants: `revoked`},
	{words: "get leased", wants: `^$`},
	{words: "lease timetolive {lease}", wants: `already expired`},
	{words: "lease revoke {lease}", wants: `requested lease not found`, fails: true},
	{words: "lease grant 10000000000", wants: `too large lease TTL`, fails: true},

	{words: "member list", wants: `(?s)started, m0.*started, m1|(?s)started, m.*started, m.*started, m`},
	{words: "member list -w json", wants: `"clientURLs":\["http://127`},
	{words: "endpoint health --cluster", wants: `(?s)is healthy.*is healthy.*is healthy`},
	{words: "endpoint status --cluster -w table", wants: `(?s)VERSION.*3\.\d+\.\d+.*true.*false|(?s)VERSION.*3\.\d+\.\d+.*false.*true`},
	{words: "endpoint hashkv --cluster", wants: `http.*, \d+`},
	{words: "alarm list", wants: `^$`},
	{words: "alarm disarm", wants: `^$`},
	{words: "lock here echo held", wants: `^held\n$`},
	{words: "check datascale --load=s", wants: `PASS`},

	{words: "user add root --no-password=false --new-user-password=r", wants: `User root created`},
	{words: "user add a --new-user-password=p", wants: `User a created`},
	{words: "user add a --new-user-password=p", wants: `user name already exists`, fails: true},
	{words: "user add certified --no-password", wants: `User certified created`},
	{words: "user list", wants: `^a\ncertified\nroot\n$`},
	{words: "role add root", wants: `Role root created`},
	{words: "role add team", wants: `Role team created`},
	{words: "role grant-permission team readwrite --prefix /a/", wants: `Role team updated`},
	{words: "role grant-permission team read b", wants: `Role team updated`},
	{words: "role grant-permission team write c d", wants: `Role team updated`},
	{words: "role get team", wants: `(?s)KV Read:.*\[/a/, /a0\).*b.*KV Write:.*\[/a/, /a0\).*\[c, d\)`},
	{words: "role list", wants: `^root\nteam\n$`},
	{words: "user grant-role root root", wants: `Role root is granted to user root`},
	{words: "user grant-role a team", wants: `Role team is granted to user a`},
	{words: "user get a --detail", wants: `(?s)Role team.*KV Read:`},
	{words: "auth status", wants: `Authentication Status: false\nAuthRevision: \d+`},
	{words: "auth enable", wants: `Authentication Enabled`},
	{words: "get /a/1", wants: `user name is empty`, fails: true},
	{words: "--user=a:wrong get /a/1", wants: `authentication failed, invalid user ID or password`, fails: true},
	{words: "--user=certified:x get /a/1", wants: `password was given for no password user`, fails: true},
	{words: "--user=a:p put /a/1 x", wants: `^OK\n$`},
	{words: "--user=a:p get --prefix /a/", wants: `^/a/1\nx\n$`},
	{words: "--user=a:p put b x", wants: `permission denied`, fails: true},
	{words: "--user=a:p put c x", wants: `^OK\n$`},
	{words: "--user=a:p put c x --prev-kv", wants: `permission denied`, fails: true},
	{words: "--user=a:p member list", wants: `started`},
	{words: "--user=a:p compaction 5", wants: `permission denied`, fails: true},
	{words: "--user=a:p user list", wants: `permission denied`, fails: true},
	{words: "--user=a:p watch b c", wants: `permission denied`, fails: true},
	{words: "--user=root:r user passwd a --interactive=false", stdin: "q", wants: `Password updated`},
	{words: "--user=a:q get --prefix /a/", wants: `^/a/1\nx\n$`},
	{words: "--user=root:r role revoke-permission team b", wants: `Permission of key b is revoked from role team`},
	{words: "--user=root:r user revoke-role a team", wants: `Role team is revoked from user a`},
	{words: "--user=a:q get --prefix /a/", wants: `permission denied`, fails: true},
	{words: "--user=root:r role delete team", wants: `Role team deleted`},
	{words: "--user=root:r user delete a", wants: `User a deleted`},
	{words: "--user=root:r user delete root", wants: `invalid auth management`, fails: true},
	{words: "--user=root:r auth disable", wants: `Authentication Disabled`},
	{words: "get /a/1", wants: `^/a/1\nx\n$`},
}

func (c *ctl) play(steps []step) {
	c.t.Helper()
	for _, one := range steps {
		// Two spaces at the end are an empty word.
		words := strings.Split(one.words, " ")
		said, done := c.run(one.stdin, words...)
		wants := one.wants
		for name, value := range c.names {
			wants = strings.ReplaceAll(wants, "{"+name+"}", value)
		}
		found := regexp.MustCompile(wants).FindStringSubmatch(said)
		if found == nil || done == one.fails && !one.either {
			c.t.Errorf("etcdctl %s\n  wants %q\n  said  %q (done: %v)", one.words, one.wants, said, done)
			continue
		}
		if one.names != "" {
			c.names[one.names] = found[1]
		}
	}
}

// leader is the place of the member that leads.
func (c *ctl) leader(members []*member.Member) int {
	c.t.Helper()
	for place, one := range members {
		alone := &ctl{c.t, c.dir, []string{one.Endpoint}, nil}
		said, _ := alone.run("", "endpoint", "status", "-w", "fields")
		found := regexp.MustCompile(`"MemberID" : (\d+)[\s\S]*"Leader" : (\d+)`).FindStringSubmatch(said)
		if found != nil && found[1] == found[2] {
			return place
		}
	}
	c.t.Fatal("nobody leads")
	return 0
}

func (c *ctl) moveLeader(members []*member.Member) {
	c.t.Helper()
	place := c.leader(members)
	alone := &ctl{c.t, c.dir, []string{members[(place+1)%3].Endpoint}, nil}
	said, _ := alone.run("", "endpoint", "status", "-w", "json")
	id := regexp.MustCompile(`"member_id":(\d+)`).FindStringSubmatch(said)
	if id == nil {
		c.t.Fatalf("no id in %q", said)
	}
	said, _ = c.run("", "member", "list", "-w", "simple", "--hex=true")
	var other string
	for _, line := range strings.Split(said, "\n") {
		if fields := strings.Split(line, ", "); len(fields) > 2 && fields[2] == members[(place+1)%3].Name {
			other = fields[0]
		}
	}
	if said, done := c.run("", "move-leader", other); !done {
		c.t.Errorf("move-leader %s: %s", other, said)
	}
	if now := c.leader(members); now != (place+1)%3 {
		c.t.Errorf("%s leads instead of %s", members[now].Name, members[(place+1)%3].Name)
	}
}

// until runs a command that does not end by itself until it has said something; `meanwhile` is done once it runs.
func (c *ctl) until(wanted string, meanwhile func(), words ...string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	arguments := append([]string{"--endpoints", strings.Join(c.endpoints, ",")}, words...)
	command := exec.CommandContext(ctx, filepath.Join(c.dir, "etcdctl"), arguments...)
	out, err := command.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		c.t.Fatal(err)
	}
	meanwhile()
	seen, part := "", make([]byte, 1024)
	for !strings.Contains(seen, wanted) {
		count, err := out.Read(part)
		if err != nil {
			break
		}
		seen += string(part[:count])
	}
	cancel()
	command.Wait()
	if !strings.Contains(seen, wanted) {
		c.t.Errorf("%s said %q", words[0], seen)
	}
}

// watch follows a prefix until it has seen what is put.
func (c *ctl) watch() {
	c.t.Helper()
	change := func() {
		c.play([]step{
			{words: "put w/1 x", wants: "OK"}, {words: "put w/1 y", wants: "OK"}, {words: "del w/1", wants: "1"},
		})
	}
	wanted := "PUT\nw/1\nx\nPUT\nw/1\nx\nw/1\ny\nDELETE\nw/1\ny\nw/1\n\n"
	c.until(wanted, change, "watch", "--prefix", "w/", "--rev=1", "--prev-kv")
}

// elect stands for election, and is told of it elsewhere.
func (c *ctl) elect() {
	c.t.Helper()
	c.until("\nx\n", func() { c.until("\nx\n", func() {}, "elect", "--listen", "there") }, "elect", "there", "x")
}

// Each etcdctl of ETCDCTLS, directories between colons.
func TestEveryFamily(t *testing.T) {
	dirs := strings.FieldsFunc(os.Getenv("ETCDCTLS"), func(letter rune) bool { return letter == ':' })
	if len(dirs) == 0 {
		t.Fatal("ETCDCTLS must name directories with etcdctl and etcdutl")
	}
	for number, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			members := member.Cluster(t, 3, "--bcrypt-cost", "4")
			c := &ctl{t, dir, member.Endpoints(members), map[string]string{"dir": t.TempDir()}}
			c.play(steps)
			c.elect()
			c.moveLeader(members)
			c.saveSnapshot(members)
			other := member.Cluster(t, 1)
			c.mirror(other)
			(&ctl{t, dir, member.Endpoints(other), nil}).watch()
			if number == len(dirs)-1 {
				c.play([]step{{words: "check perf --load=s", wants: `Throughput.*\d+ writes/s`, either: true}})
			}
		})
	}
}

func (c *ctl) saveSnapshot(members []*member.Member) {
	c.t.Helper()
	one := &ctl{c.t, c.dir, []string{members[0].Endpoint}, c.names}
	one.play([]step{
		{words: "snapshot save {dir}/copy", wants: `Snapshot saved at`},
		{words: "etcdutl snapshot status {dir}/copy -w json", wants: `"totalKey":`},
	})
}

// mirror copies keys to another cluster.
func (c *ctl) mirror(to []*member.Member) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	arguments := []string{"--endpoints", strings.Join(c.endpoints, ","), "make-mirror", "--prefix=m/", to[0].Endpoint}
	command := exec.CommandContext(ctx, filepath.Join(c.dir, "etcdctl"), arguments...)
	if err := command.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.play([]step{{words: "put m/1 x", wants: "OK"}})
	other := &ctl{c.t, c.dir, member.Endpoints(to), nil}
	deadline := time.Now().Add(patience)
	for said := ""; !strings.Contains(said, "m/1\nx"); said, _ = other.run("", "get", "m/1") {
		if time.Now().After(deadline) {
			c.t.Error("nothing was mirrored")
			break
		}
	}
	cancel()
	command.Wait()
}
