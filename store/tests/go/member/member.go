// Package member runs members of a store, each a process of the binary that RAFTSMAN_BIN names.
package member

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// How long a member may take to start or to end.
const patience = 60 * time.Second

// Member is one process.
type Member struct {
	Name     string
	Endpoint string
	flags    []string
	process  *exec.Cmd
	ended    chan struct{}
}

// ports are free when they are asked for; nobody else here is given the same.
var ports struct {
	sync.Mutex
	given map[int]bool
}

func port(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = map[int]bool{}
	}
	for {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		found := listener.Addr().(*net.TCPAddr).Port
		listener.Close()
		if !ports.given[found] {
			ports.given[found] = true
			return found
		}
	}
}

// Cluster starts so many members that found a cluster together; they end with the test.
func Cluster(t testing.TB, count int, flags ...string) []*Member {
	t.Helper()
	binary := os.Getenv("RAFTSMAN_BIN")
	if binary == "" {
		t.Fatal("RAFTSMAN_BIN must name the binary raftsman")
	}
	dir := t.TempDir()
	var founders []string
	members := make([]*Member, count)
	for i := range members {
		name := fmt.Sprintf("m%d", i)
		client := fmt.Sprintf("http://127.0.0.1:%d", port(t))
		peer := fmt.Sprintf("http://127.0.0.1:%d", port(t))
		founders = append(founders, name+"="+peer)
		members[i] = &Member{Name: name, Endpoint: client, flags: append([]string{
			"store", "--name", name, "--data-dir", filepath.Join(dir, name),
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--log-level", "error",
		}, flags...)}
	}
	for _, one := range members {
		one.flags = append(one.flags, "--initial-cluster", strings.Join(founders, ","))
	}
	var group sync.WaitGroup
	failures := make([]error, count)
	for i, one := range members {
		group.Go(func() { failures[i] = one.start(binary) })
		t.Cleanup(one.Kill)
	}
	group.Wait()
	for _, failure := range failures {
		if failure != nil {
			t.Fatal(failure)
		}
	}
	return members
}

// Endpoints of all of them.
func Endpoints(members []*Member) []string {
	var found []string
	for _, one := range members {
		found = append(found, one.Endpoint)
	}
	return found
}

func (m *Member) start(binary string) error {
	m.process = exec.Command(binary, m.flags...)
	said := &bytes.Buffer{}
	m.process.Stderr = said
	out, err := m.process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := m.process.Start(); err != nil {
		return err
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	m.ended = ended
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "ready") {
				close(ready)
				break
			}
		}
		io.Copy(io.Discard, out)
		m.process.Wait()
		close(ended)
	}()
	select {
	case <-ready:
		return nil
	case <-ended:
		return fmt.Errorf("%s ended before it was ready: %s", m.Name, said)
	case <-time.After(patience):
		return fmt.Errorf("%s is not ready in time", m.Name)
	}
}

// Kill ends it at once and waits for its end; it may have ended before.
func (m *Member) Kill() {
	if m.process == nil || m.process.Process == nil {
		return
	}
	m.process.Process.Signal(syscall.SIGKILL)
	select {
	case <-m.ended:
	case <-time.After(patience):
	}
}

// Restart starts it again on what it left.
func (m *Member) Restart(t testing.TB) {
	t.Helper()
	if err := m.start(os.Getenv("RAFTSMAN_BIN")); err != nil {
		t.Fatal(err)
	}
}
