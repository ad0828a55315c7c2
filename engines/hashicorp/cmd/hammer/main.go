// Command hammer adds words to a cluster of the word tracker, wherever its leader is.
//
//	hammer --addresses multi:///localhost:50051,localhost:50052,localhost:50053 --workers 10 --count 1999
//
// It prints one line of JSON: words, seconds, words per second, p50 and p99 and the longest gap between two answers in
// milliseconds, retries, and the three longest words.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"

	_ "github.com/Jille/grpc-multi-resolver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health"
	"google.golang.org/grpc/status"

	"matchengine/engines/hashicorp/examplepb"
)

const (
	firstPause = 10 * time.Millisecond
	// A leader that dies takes a few seconds to be replaced; a channel that was refused waits no longer than this.
	longestPause = 200 * time.Millisecond
	serviceRule  = `{"healthCheckConfig": {"serviceName": "Example"}, "loadBalancingConfig": [{"round_robin": {}}]}`
)

type hammer struct {
	client   examplepb.ExampleClient
	patience time.Duration
	attempt  time.Duration
	pause    time.Duration
}

// answer is one acknowledged word.
type answer struct {
	began   time.Time
	ended   time.Time
	retries int
}

// report is what is printed.
type report struct {
	Words     int      `json:"words"`
	Seconds   float64  `json:"seconds"`
	PerSecond float64  `json:"per_second"`
	P50       float64  `json:"p50_ms"`
	P99       float64  `json:"p99_ms"`
	Gap       float64  `json:"longest_gap_ms"`
	Retries   int      `json:"retries"`
	Best      []string `json:"best_words"`
}

func main() {
	addresses := flag.String("addresses", "multi:///localhost:50051,localhost:50052,localhost:50053", "the nodes")
	workers := flag.Int("workers", 10, "requests under way at any time")
	count := flag.Int("count", 1999, "how many words; 0 adds words until Ctrl-C")
	prefix := flag.String("prefix", "word", "what the words begin with; their number follows")
	patience := flag.Duration("patience", time.Minute, "how long a word is tried")
	attempt := flag.Duration("attempt", 5*time.Second, "deadline of one try")
	pause := flag.Duration("pause", 0, "how long a worker rests after a word")
	acknowledged := flag.String("acknowledged", "", "file that gets a line for every acknowledged word")
	flag.Parse()
	if *workers < 1 || *count < 0 {
		log.Fatal("hammer: --workers must be at least 1, --count at least 0")
	}
	connection, err := grpc.NewClient(*addresses,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(serviceRule))
	if err != nil {
		log.Fatalf("hammer: %v", err)
	}
	defer connection.Close()
	journal, err := openJournal(*acknowledged)
	if err != nil {
		log.Fatalf("hammer: --acknowledged: %v", err)
	}
	h := &hammer{examplepb.NewExampleClient(connection), *patience, *attempt, *pause}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	began := time.Now()
	answers, err := h.addAll(*prefix, *workers, *count, journal, stop)
	if err != nil {
		log.Fatalf("hammer: %v", err)
	}
	r := summary(answers, time.Since(began))
	if r.Best, err = h.best(); err != nil {
		log.Fatalf("hammer: %v", err)
	}
	_ = json.NewEncoder(os.Stdout).Encode(r)
}

func openJournal(path string) (*os.File, error) {
	if path == "" {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	return os.Create(path)
}

// addAll sends so many words, or words until stop, by so many workers; it ends at the first that cannot be added.
func (h *hammer) addAll(prefix string, workers, count int, journal *os.File, stop <-chan os.Signal) ([]answer, error) {
	numbers := make(chan int)
	failed := make(chan error, workers)
	answers := make([][]answer, workers)
	var group sync.WaitGroup
	for worker := range workers {
		group.Add(1)
		go func() {
			defer group.Done()
			for number := range numbers {
				word := fmt.Sprintf("%s%d", prefix, number)
				added, err := h.add(word)
				if err != nil {
					failed <- err
					return
				}
				fmt.Fprintln(journal, word)
				answers[worker] = append(answers[worker], added)
				time.Sleep(h.pause)
			}
		}()
	}
	var err error
	for number, stopped := 0, false; !stopped && err == nil && (count == 0 || number < count); number++ {
		select {
		case numbers <- number:
		case err = <-failed:
		case <-stop:
			stopped = true
		}
	}
	close(numbers)
	group.Wait()
	if err == nil && len(failed) > 0 {
		err = <-failed
	}
	return slices.Concat(answers...), err
}

func (h *hammer) add(word string) (answer, error) {
	began := time.Now()
	retries, err := h.untilDone(func(ctx context.Context) error {
		_, err := h.client.AddWord(ctx, &examplepb.AddWordRequest{Word: word}, grpc.WaitForReady(true))
		return err
	})
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", word, err)
	}
	return answer{began, time.Now(), retries}, nil
}

func (h *hammer) best() ([]string, error) {
	var words []string
	_, err := h.untilDone(func(ctx context.Context) error {
		response, err := h.client.GetWords(ctx, &examplepb.GetWordsRequest{}, grpc.WaitForReady(true))
		words = response.GetBestWords()
		return err
	})
	return words, err
}

// untilDone repeats what the nodes call retriable, which the word tracker allows: a word may be added twice.
func (h *hammer) untilDone(call func(context.Context) error) (int, error) {
	deadline, pause := time.Now().Add(h.patience), firstPause
	for retries := 0; ; retries++ {
		ctx, cancel := context.WithTimeout(context.Background(), h.attempt)
		err := call(ctx)
		cancel()
		code := status.Code(err)
		if err == nil || time.Now().After(deadline) || code != codes.Unavailable && code != codes.DeadlineExceeded {
			return retries, err
		}
		time.Sleep(pause)
		pause = min(2*pause, longestPause)
	}
}

func summary(answers []answer, took time.Duration) report {
	n := len(answers)
	if n == 0 {
		return report{Seconds: took.Seconds()}
	}
	slices.SortFunc(answers, func(a, b answer) int { return a.ended.Compare(b.ended) })
	var gap time.Duration
	var retries int
	latencies := make([]time.Duration, n)
	for i, a := range answers {
		latencies[i] = a.ended.Sub(a.began)
		retries += a.retries
		if i > 0 {
			gap = max(gap, a.ended.Sub(answers[i-1].ended))
		}
	}
	slices.Sort(latencies)
	at := func(fraction float64) float64 {
		return milliseconds(latencies[int(fraction*float64(n-1))])
	}
	return report{n, took.Seconds(), float64(n) / took.Seconds(), at(0.5), at(0.99), milliseconds(gap), retries, nil}
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}
