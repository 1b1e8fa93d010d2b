// Package clients holds tests with etcd's own client against a store of three members.
package clients

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	"raftsman.example/etcd-clients/member"
)

const patience = 60 * time.Second

type cluster struct {
	t       *testing.T
	members []*member.Member
	ctx     context.Context
}

func three(t *testing.T) *cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	return &cluster{t, member.Cluster(t, 3), ctx}
}

func (c *cluster) client() *clientv3.Client {
	c.t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            member.Endpoints(c.members),
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    time.Second,
		DialKeepAliveTimeout: time.Second,
		Logger:               zap.NewNop(),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { client.Close() })
	return client
}

func (c *cluster) session(ttl int) *concurrency.Session {
	c.t.Helper()
	session, err := concurrency.NewSession(c.client(), concurrency.WithTTL(ttl), concurrency.WithContext(c.ctx))
	if err != nil {
		c.t.Fatal(err)
	}
	return session
}

// leader is the member that leads, by what it says itself.
func (c *cluster) leader() *member.Member {
	c.t.Helper()
	client := c.client()
	for c.ctx.Err() == nil {
		for _, one := range c.members {
			ctx, cancel := context.WithTimeout(c.ctx, time.Second)
			status, err := client.Status(ctx, one.Endpoint)
			cancel()
			if err == nil && status.Leader == status.Header.MemberId {
				return one
			}
		}
	}
	c.t.Fatal("nobody leads")
	return nil
}

// killLeader kills the leader and starts it again.
func (c *cluster) killLeader() {
	c.t.Helper()
	leader := c.leader()
	c.t.Logf("%s leads and is killed", leader.Name)
	leader.Kill()
	leader.Restart(c.t)
}

// again asks until it is done: a call whose member is lost may or may not have happened, and these may happen twice.
func (c *cluster) again(call func(context.Context) error) error {
	for {
		err := call(c.ctx)
		if err == nil || c.ctx.Err() != nil {
			return err
		}
		c.t.Logf("asked again: %v", err)
	}
}

// A put that did not surely happen is asked again; what was told as done is never lost.
func TestWritesOutliveTheLeader(t *testing.T) {
	c := three(t)
	client := c.client()
	events := client.Watch(c.ctx, "k", clientv3.WithPrefix())
	const count = 400
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range count {
			for {
				ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
				_, err := client.Put(ctx, fmt.Sprintf("k%04d", i), fmt.Sprint(i))
				cancel()
				if err == nil || c.ctx.Err() != nil {
					break
				}
			}
		}
	}()
	c.killLeader()
	<-done
	found, err := client.Get(c.ctx, "k", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Kvs) != count {
		t.Fatalf("%d keys of %d are there", len(found.Kvs), count)
	}
	// The watch tells every change once, in order, over the loss of the member that it was asked of.
	last, keys := int64(0), map[string]bool{}
	for len(keys) < count {
		answer, ok := <-events
		if !ok || answer.Err() != nil {
			t.Fatalf("the watch ended after %d keys: %v", len(keys), answer.Err())
		}
		for _, event := range answer.Events {
			if event.Kv.ModRevision <= last {
				t.Fatalf("revision %d after %d", event.Kv.ModRevision, last)
			}
			last = event.Kv.ModRevision
			keys[string(event.Kv.Key)] = true
		}
	}
}

// released unlocks a mutex, unless that happened already.
func released(mutex *concurrency.Mutex) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := mutex.Unlock(ctx); !errors.Is(err, concurrency.ErrLockReleased) {
			return err
		}
		return nil
	}
}

// Who holds a mutex is alone; it goes on to the others, also while the leader is lost.
func TestMutexExcludes(t *testing.T) {
	c := three(t)
	const workers, rounds = 6, 10
	var group sync.WaitGroup
	var held sync.Mutex
	inside, entered := 0, 0
	for worker := range workers {
		session := c.session(30)
		mutex := concurrency.NewMutex(session, "/lock")
		group.Go(func() {
			for range rounds {
				if err := c.again(mutex.Lock); err != nil {
					t.Errorf("worker %d: lock: %v", worker, err)
					return
				}
				held.Lock()
				inside++
				entered++
				if inside != 1 {
					t.Errorf("%d are inside at once", inside)
				}
				held.Unlock()
				time.Sleep(5 * time.Millisecond)
				held.Lock()
				inside--
				held.Unlock()
				if err := c.again(released(mutex)); err != nil {
					t.Errorf("worker %d: unlock: %v", worker, err)
					return
				}
			}
		})
	}
	c.killLeader()
	group.Wait()
	if entered != workers*rounds {
		t.Fatalf("entered %d times instead of %d", entered, workers*rounds)
	}
}

// A try at a held mutex fails; one at a mutex whose session ended does not.
func TestMutexGoesWithItsSession(t *testing.T) {
	c := three(t)
	first, second := c.session(5), c.session(30)
	one, other := concurrency.NewMutex(first, "/lock"), concurrency.NewMutex(second, "/lock")
	if err := c.again(one.Lock); err != nil {
		t.Fatal(err)
	}
	locked := func(ctx context.Context) error {
		if err := other.TryLock(ctx); !errors.Is(err, concurrency.ErrLocked) {
			return fmt.Errorf("a held mutex: %v", err)
		}
		return nil
	}
	if err := locked(c.ctx); err != nil {
		t.Fatal(err)
	}
	c.killLeader()
	if err := c.again(locked); err != nil {
		t.Fatal(err)
	}
	// Nobody keeps it alive any longer.
	first.Orphan()
	if err := c.again(other.Lock); err != nil {
		t.Fatal(err)
	}
	if err := c.again(released(other)); err != nil {
		t.Fatal(err)
	}
}

// A session that is kept alive outlives the leader, and its lease ends with it when it closes.
func TestSessionOutlivesTheLeader(t *testing.T) {
	c := three(t)
	client, session := c.client(), c.session(5)
	if _, err := client.Put(c.ctx, "/held", "x", clientv3.WithLease(session.Lease())); err != nil {
		t.Fatal(err)
	}
	c.killLeader()
	select {
	case <-session.Done():
		t.Fatal("the session ended")
	case <-time.After(8 * time.Second):
	}
	found, err := client.Get(c.ctx, "/held")
	if err != nil || len(found.Kvs) != 1 {
		t.Fatalf("%v: %v", found, err)
	}
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
	found, err = client.Get(c.ctx, "/held")
	if err != nil || len(found.Kvs) != 0 {
		t.Fatalf("%v: %v", found, err)
	}
}

// One is elected at a time, in the order in which they stood; those who look are told of each.
func TestElectionGoesOn(t *testing.T) {
	c := three(t)
	first, second := c.session(30), c.session(30)
	one, other := concurrency.NewElection(first, "/elect"), concurrency.NewElection(second, "/elect")
	if err := one.Campaign(c.ctx, "one"); err != nil {
		t.Fatal(err)
	}
	seen := concurrency.NewElection(c.session(30), "/elect").Observe(c.ctx)
	expect := func(wanted string) {
		t.Helper()
		for answer := range seen {
			if value := string(answer.Kvs[0].Value); value == wanted {
				return
			}
		}
		t.Fatalf("%q was never seen", wanted)
	}
	expect("one")
	won := make(chan error, 1)
	go func() { won <- c.again(func(ctx context.Context) error { return other.Campaign(ctx, "other") }) }()
	c.killLeader()
	select {
	case err := <-won:
		t.Fatalf("elected beside another: %v", err)
	case <-time.After(time.Second):
	}
	if err := c.again(func(ctx context.Context) error { return one.Proclaim(ctx, "one again") }); err != nil {
		t.Fatal(err)
	}
	expect("one again")
	if err := c.again(one.Resign); err != nil {
		t.Fatal(err)
	}
	if err := <-won; err != nil {
		t.Fatal(err)
	}
	expect("other")
	leader, err := other.Leader(c.ctx)
	if err != nil || string(leader.Kvs[0].Value) != "other" {
		t.Fatalf("%v: %v", leader, err)
	}
}

// Money that is moved between accounts is neither made nor lost, at every isolation that the library has.
func TestTransfersKeepTheSum(t *testing.T) {
	for name, isolation := range map[string]concurrency.Isolation{
		"serializable snapshot": concurrency.SerializableSnapshot,
		"serializable":          concurrency.Serializable,
		"repeatable reads":      concurrency.RepeatableReads,
	} {
		t.Run(name, func(t *testing.T) {
			c := three(t)
			const accounts, workers, moves, each = 5, 4, 25, 100
			account := func(number int) string { return fmt.Sprintf("/account/%d", number) }
			client := c.client()
			for number := range accounts {
				if _, err := client.Put(c.ctx, account(number), fmt.Sprint(each)); err != nil {
					t.Fatal(err)
				}
			}
			var group sync.WaitGroup
			for worker := range workers {
				client := c.client()
				group.Go(func() {
					for move := range moves {
						from, to := account((worker+move)%accounts), account((worker+3*move+1)%accounts)
						if from == to {
							continue
						}
						transfer := func(stm concurrency.STM) error {
							var left, right int
							fmt.Sscan(stm.Get(from), &left)
							fmt.Sscan(stm.Get(to), &right)
							stm.Put(from, fmt.Sprint(left-1))
							stm.Put(to, fmt.Sprint(right+1))
							return nil
						}
						// One whose end is not known may have happened: the sum is the same either way.
						for c.ctx.Err() == nil {
							_, err := concurrency.NewSTM(client, transfer, concurrency.WithIsolation(isolation),
								concurrency.WithAbortContext(c.ctx))
							if err == nil {
								break
							}
						}
					}
				})
			}
			c.killLeader()
			group.Wait()
			found, err := client.Get(c.ctx, "/account/", clientv3.WithPrefix())
			if err != nil {
				t.Fatal(err)
			}
			sum := 0
			for _, kv := range found.Kvs {
				var amount int
				fmt.Sscan(string(kv.Value), &amount)
				sum += amount
			}
			if len(found.Kvs) != accounts || sum != accounts*each {
				t.Fatalf("%d accounts hold %d", len(found.Kvs), sum)
			}
		})
	}
}
