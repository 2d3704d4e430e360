"""Group the rulers in the CSV file by capital and print the length of each reign."""

import csv
from collections import defaultdict
from operator import itemgetter


def read_reigns(csv_file_path):
    reigns = defaultdict(list)
    with open(csv_file_path, newline="") as csv_file:
        for row in csv.DictReader(csv_file):
            years = int(row["end"]) - int(row["start"])
            reigns[row["capital"]].append((row["ruler"], years))
    return reigns


def print_capital(capital, rulers):
    total = sum(years for _, years in rulers)
    print(f"{capital}: {len(rulers)} rulers, {total} years")
    for ruler, years in sorted(rulers, key=itemgetter(1), reverse=True):
        bar = "#" * (years // 2)
        print(f"  {ruler:28} {years:3} {bar}")


if __name__ == "__main__":
    reigns = read_reigns("user_data/rulers.csv")
    for capital in sorted(reigns):
        print_capital(capital, reigns[capital])
    everyone = [reign for rulers in reigns.values() for reign in rulers]
    ruler, years = max(everyone, key=itemgetter(1))
    print(f"Longest reign: {ruler}, {years} years")
    print(f"Mean reign: {sum(years for _, years in everyone) / len(everyone):.1f} years")
