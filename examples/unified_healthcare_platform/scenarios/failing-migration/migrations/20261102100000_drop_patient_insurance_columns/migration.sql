/*
  Warnings:

  - You are about to drop the column `insuranceNumber` on the `Patient` table. All the data in the column will be lost.
  - You are about to drop the column `insurerName` on the `Patient` table. All the data in the column will be lost.

*/
-- AlterTable
ALTER TABLE "Patient" DROP COLUMN "insuranceNumber",
DROP COLUMN "insurerName";

-- Two addresses that differ in nothing but capitals are one.
CREATE UNIQUE INDEX "User_email_lower_key" ON "User"(lower("email"));
